package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/room"
	"wsframe/library/packed"
)

// state is the part of a session that travels to the next worker. It is empty for most connections.
type state struct {
	Keys        []string
	Listeners   []string
	Announced   []string // rooms
	Unannounced []string // those of Announced whose announcement is pending
	UIDs        []string // bound uids; nil = the token's id alone
	User        string   // Session.user; "" = the token's id
	Unbound     bool     // the connection has no uid, not even the token's id
	Values      map[string]json.RawMessage
	Seen        map[string]room.Position // Session.seen
	Received    map[string]room.Position // hub.Conn.Received
	Rivals      []rival
	PHP         *PHP // nil = PHP programs keep nothing
}

var errSession = errors.New("session of a connection cannot be read")

// Export calls take with the session's state, which does not change until take returns.
func (ss *Sessions) Export(c *hub.Conn, take func(state json.RawMessage)) {
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	take(s.export(c))
}

func (s *Session) export(c *hub.Conn) json.RawMessage {
	uids := c.Users()
	st := state{Keys: s.keys, Listeners: s.listeners, Values: s.values, Seen: s.seen, Received: c.Received(), Rivals: s.rivals()}
	st.PHP = s.exportPHP()
	if s.user != c.Auth.ID {
		st.User = s.user
	}
	for room, ticket := range s.announced {
		st.Announced = append(st.Announced, room)
		if ticket != "" {
			st.Unannounced = append(st.Unannounced, room)
		}
	}
	if id := c.Auth.ID; len(uids) == 0 {
		st.Unbound = id != ""
	} else if len(uids) > 1 || uids[0] != id {
		st.UIDs = uids
	}
	return st.encode()
}

// Import makes the session of a connection that comes from the previous worker.
func (ss *Sessions) Import(c *hub.Conn, raw json.RawMessage) (*Session, error) {
	var st state
	if err := st.decode(raw); err != nil {
		return nil, err
	}
	s := &Session{keys: st.Keys, listeners: st.Listeners, values: st.Values, seen: st.Seen, user: st.User}
	s.php.Store(st.PHP)
	if len(st.Rivals) > 0 {
		s.contested().rivals = st.Rivals
	}
	if s.user == "" && len(st.Announced) > 0 {
		s.user = c.Auth.ID
	}
	for _, room := range st.Announced {
		s.announce(room, "")
	}
	for _, room := range st.Unannounced { // or announced by the previous worker after the export
		s.announce(room, newTicket())
		ss.cfg.Presence.Walk()
	}
	uids := st.UIDs
	if len(uids) == 0 && !st.Unbound && c.Auth.ID != "" {
		uids = []string{c.Auth.ID}
	}
	for _, uid := range uids {
		if _, err := c.Bind(uid); err != nil {
			return nil, err
		}
	}
	for room, p := range st.Received {
		c.SetReceived(room, p)
	}
	if ss.cfg.SecondLogin != loginAllow {
		s.contested().bound = uids
	}
	return s, nil
}

// Begin resumes the background work of an imported connection, once this worker serves it.
func (ss *Sessions) Begin(c *hub.Conn) { ss.Logins.resume(c) }

func (s *state) lists() [5]*[]string {
	return [...]*[]string{&s.Keys, &s.Listeners, &s.Announced, &s.Unannounced, &s.UIDs}
}

func (s *state) positions() [2]*map[string]room.Position {
	return [...]*map[string]room.Position{&s.Seen, &s.Received}
}

const (
	stateUnbound = 1 << iota
	statePHP
)

// encode returns the state's bytes, none for an empty state. Texts are copied as they are: a text
// that clients have chosen costs no more than its length.
func (s *state) encode() []byte {
	b := []byte{0}
	if s.Unbound {
		b[0] |= stateUnbound
	}
	if s.PHP != nil {
		b[0] |= statePHP
	}
	empty := b[0] == 0 && s.User == "" && len(s.Values) == 0 && len(s.Rivals) == 0
	b = packed.AppendText(b, s.User)
	for _, list := range s.lists() {
		empty = empty && len(*list) == 0
		b = packed.AppendTexts(b, *list)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Values)))
	for k, v := range s.Values {
		b = packed.AppendText(packed.AppendText(b, k), v)
	}
	for _, positions := range s.positions() {
		empty = empty && len(*positions) == 0
		b = binary.AppendUvarint(b, uint64(len(*positions)))
		for name, p := range *positions {
			b = packed.AppendText(binary.AppendVarint(packed.AppendText(b, name), p.Offset), p.Epoch)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Rivals)))
	for _, r := range s.Rivals {
		b = binary.AppendVarint(packed.AppendText(b, r.uid), r.fd)
	}
	if s.PHP != nil {
		b = s.PHP.append(b)
	}
	if empty {
		return nil
	}
	return b
}

func (s *state) decode(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	r := packed.NewReader(b)
	flags := r.Byte()
	s.Unbound = flags&stateUnbound != 0
	s.User = r.Text()
	for _, list := range s.lists() {
		*list = r.Texts()
	}
	for n := r.Size(); n > 0 && r.Err() == nil; n-- {
		if s.Values == nil {
			s.Values = map[string]json.RawMessage{}
		}
		k := r.Text()
		s.Values[k] = slices.Clone(r.Bytes())
	}
	for _, positions := range s.positions() {
		for n := r.Size(); n > 0 && r.Err() == nil; n-- {
			if *positions == nil {
				*positions = map[string]room.Position{}
			}
			name := r.Text()
			(*positions)[name] = room.Position{Offset: r.Int(), Epoch: r.Text()}
		}
	}
	for n := r.Size(); n > 0 && r.Err() == nil; n-- {
		s.Rivals = append(s.Rivals, rival{r.Text(), r.Int()})
	}
	if flags&statePHP != 0 {
		s.PHP = &PHP{}
		s.PHP.read(&r)
	}
	if r.End() != nil {
		return errSession
	}
	return nil
}
