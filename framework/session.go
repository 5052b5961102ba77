package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
)

// session is the framework's own state of a connection (hub.Conn.Data).
type session struct {
	mu        sync.Mutex
	keys      []string          // close keys besides rooms
	listeners []string          // controllers, by mounted name
	user      string            // the uid under which it is announced, from the first time on; "" = it never was
	announced map[string]string // rooms whose members hear of this one's coming and going; its ticket, "" = they were told
	values    map[string]json.RawMessage
	seen      map[string]position // what the client said it saw last, of rooms it is not in yet

	claims []string // uids whose logins this one has been compared with
	rivals []rival  // later logins of these, which wait for this connection's answer

	left   atomic.Int64           // rooms left so far, counted before each
	acting atomic.Pointer[string] // method of the action that runs

	recoveries, pages history.Budget
}

func sessionOf(c *hub.Conn) *session { return c.Data.(*session) }

// exportSession gives the session, whose mu is held.
func exportSession(c *hub.Conn) json.RawMessage {
	s := sessionOf(c)
	uids := c.Users()
	state := sessionState{Keys: s.keys, Listeners: s.listeners, Values: s.values, Seen: s.seen, Marks: c.Received(), Rivals: s.rivals}
	if s.user != c.Auth.ID {
		state.User = s.user
	}
	for room, ticket := range s.announced {
		state.Announced = append(state.Announced, room)
		if ticket != "" {
			state.Untold = append(state.Untold, room)
		}
	}
	if own := c.Auth.ID; len(uids) == 0 {
		state.Unbound = own != ""
	} else if len(uids) > 1 || uids[0] != own {
		state.UIDs = uids
	}
	return state.encode()
}

func (a *App) importSession(c *hub.Conn, raw json.RawMessage) (*session, error) {
	var state sessionState
	if err := state.decode(raw); err != nil {
		return nil, err
	}
	s := &session{keys: state.Keys, listeners: state.Listeners, values: state.Values, seen: state.Seen, user: state.User, rivals: state.Rivals}
	if s.user == "" && len(state.Announced) > 0 {
		s.user = c.Auth.ID
	}
	for _, room := range state.Announced {
		s.announce(room, "")
	}
	for _, room := range state.Untold { // the previous worker may have told it just now
		s.announce(room, newTicket())
		a.presences.behind.Store(true)
	}
	uids := state.UIDs
	if len(uids) == 0 && !state.Unbound && c.Auth.ID != "" {
		uids = []string{c.Auth.ID}
	}
	for _, uid := range uids {
		if _, err := c.Bind(uid); err != nil {
			return nil, err
		}
	}
	for room, m := range state.Marks {
		c.SetReceived(room, m)
	}
	if a.cfg.Users.SecondLogin != loginAllow {
		s.claims = uids
	}
	return s, nil
}

// maxSession bounds the values of a connection's session, as JSON, in bytes.
const maxSession = 16 << 10

// ErrSessionSize is returned when a session's values would take more than 16 KiB as JSON.
var ErrSessionSize = errors.New("session values take more than 16 KiB")

func sizeOf(values map[string]json.RawMessage) int {
	size := 0
	for k, v := range values {
		size += len(k) + len(v) + 4
	}
	return size
}

func encodeValues(values map[string]any) (map[string]json.RawMessage, error) {
	raw := make(map[string]json.RawMessage, len(values))
	for k, v := range values {
		if k == "" || len(k) > 128 {
			return nil, fmt.Errorf("session key %.40q: %w", k, ErrName)
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("session value %.40q: %w", k, err)
		}
		raw[k] = b
	}
	return raw, nil
}

func (s *session) snapshot() map[string]json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		return map[string]json.RawMessage{}
	}
	return maps.Clone(s.values)
}

// changeSession replaces the values, or merges into them; null removes a key then.
func (a *App) changeSession(c *hub.Conn, raw map[string]json.RawMessage, merge bool) error {
	s, here := a.own(c)
	if !here {
		if err := forward(context.Background(), a, opSetSession, c, valuesQuestion{merge, raw}); err != nil {
			return err
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.change(raw, merge)
}

// change is changeSession's, under mu.
func (s *session) change(raw map[string]json.RawMessage, merge bool) error {
	next := raw
	if merge {
		if next = maps.Clone(s.values); next == nil {
			next = make(map[string]json.RawMessage, len(raw))
		}
		maps.Copy(next, raw)
		maps.DeleteFunc(next, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	}
	if sizeOf(next) > maxSession {
		return ErrSessionSize
	}
	s.values = next
	return nil
}

// announces tells as whom this connection is announced in the room; "" = it is not.
func (s *session) announces(room string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.announced[room]; !ok {
		return ""
	}
	return s.user
}

// presentAs gives the uid under which the connection is announced: its token's id where that is bound, else the first one that is; "" =
// it has none, and others with its id may be other people. It stays the same as long as the connection lives. mu is held.
func (s *session) presentAs(c *hub.Conn) string {
	if s.user == "" {
		if uids := c.Users(); slices.Contains(uids, c.Auth.ID) {
			s.user = c.Auth.ID
		} else if len(uids) > 0 {
			s.user = uids[0]
		}
	}
	return s.user
}

// present is what a room's members are told of the connection. mu is held.
func (s *session) present(c *hub.Conn, room string) cluster.Present {
	return cluster.Present{Room: room, ID: s.user, Nickname: c.Auth.Nickname}
}

// announce has a room hear of this connection. mu is held, or nobody else knows the session yet.
func (s *session) announce(room, ticket string) {
	if s.announced == nil {
		s.announced = map[string]string{}
	}
	s.announced[room] = ticket
}

// coming is the announcement of a room which is not told yet; without a Ticket there is none.
func (s *session) coming(c *hub.Conn, room string) cluster.Present {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.present(c, room)
	p.Ticket = s.announced[room]
	return p
}

// untold lists the rooms that have not heard of this connection yet.
func (s *session) untold() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rooms []string
	for room, ticket := range s.announced {
		if ticket != "" {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// told notes, where it is so, that the room knows of the coming with that ticket. It tells whether the connection is still in it.
func (s *session) told(room, ticket string, so bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.announced[room] == ticket
	if there && so {
		s.announced[room] = ""
	}
	return there
}

// expect remembers what the client saw last of a room that it is not in yet. It tells whether there was place for it. mu is held.
func (s *session) expect(room string, p position) bool {
	if _, known := s.seen[room]; !known && len(s.seen) >= history.MaxRooms {
		return false
	}
	if s.seen == nil {
		s.seen = map[string]position{}
	}
	s.seen[room] = p
	return true
}

// awaits tells whether the client is to get what it missed of the room, when it joins.
func (s *session) awaits(room string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[room]
	return ok
}

// takeSeen gives what the client saw last of the room, once. mu is held.
func (s *session) takeSeen(room string) (position, bool) {
	p, ok := s.seen[room]
	delete(s.seen, room)
	return p, ok
}
