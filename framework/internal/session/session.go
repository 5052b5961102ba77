// Package session is what is kept with one connection: rooms, uids, close keys and listeners, session values, and whom its coming was
// announced to. All of it is changed under one lock, and noted in Redis in the order in which it happened. A connection that has moved
// to the next worker is changed there (Forward).
//
// Sessions also answers other nodes that change one of this node's connections, and asks them for theirs.
//
// The session's lock is the outermost one of a connection: a room's, the hub's and the journal's are taken under it. Nothing waits under it.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/room"
)

// Session is the state of a connection (hub.Conn.Data).
type Session struct {
	mu        sync.Mutex
	keys      []string          // close keys besides rooms
	listeners []string          // controllers, by mounted name
	user      string            // the uid under which it is announced, from the first time on; "" = it never was
	announced map[string]string // rooms whose members hear of this one's coming and going; its ticket, "" = they were notified
	values    map[string]json.RawMessage
	seen      map[string]room.Position // what the client said it saw last, of rooms it is not in yet

	logins []string // uids whose logins this one has been compared with
	rivals []rival  // later logins of these, which wait for this connection's answer

	left atomic.Int64 // rooms left so far, counted before each

	Acting     atomic.Pointer[string] // method of the action that runs
	recoveries history.Budget
	Pages      history.Budget // of sys.history
}

// New makes the session of a new connection, which says what it saw last of some rooms.
func New(seen map[string]room.Position) *Session { return &Session{seen: seen} }

// Of is the session of a connection.
func Of(c *hub.Conn) *Session { return c.Data.(*Session) }

// Cluster is where changes are noted for Redis (package cluster). It does not wait.
type Cluster interface {
	KeyAdded(fd int64, key string)
	KeyRemoved(fd int64, key string)
	CloseKeyAdded(fd int64, key string)
	CloseKeyRemoved(fd int64, key string)
	ListenerAdded(fd int64, name string)
	ListenerRemoved(fd int64, name string)
	Leaving(p cluster.Present, notified bool)
}

// Presence announces who comes (package presence). It does not wait.
type Presence interface {
	Covers(room string) bool // the room announces all its members
	Came(c *hub.Conn, room string)
	Walk() // some comings are not known to it
}

// Link is this node's way to the others (package link).
type Link interface {
	Send(m *bus.Message) error
}

// Config of Sessions.
type Config struct {
	Hub      *hub.Hub
	Nodes    *ask.Nodes
	History  *history.History
	Link     Link
	Cluster  func() Cluster
	Presence Presence

	Keys        int      // close keys, and listeners, that a connection may have
	UIDTypes    []string // users.uid_types
	SecondLogin string   // users.second_login
	// Listener gives the mounted name of a controller that has OnClose.
	Listener func(name string) (mounted string, err error)

	Life    context.Context // ends when this worker's part is over
	Protect func(what string, f func())
	Log     *zap.Logger
}

// Sessions changes connections, of this node and of others.
type Sessions struct{ cfg Config }

// NewSessions makes Sessions, and has this node answer others.
func NewSessions(cfg Config) *Sessions {
	s := &Sessions{cfg}
	s.answer()
	return s
}

// lock locks the session of a connection for a change, and tells whether the connection is here. Where it is being moved it waits
// until that is decided: a change is either in what moves or made where the connection is then. It is not for goroutines that a
// move waits for. Without here nothing is locked: see forward.
func (ss *Sessions) lock(c *hub.Conn) (s *Session, here bool) {
	for s = Of(c); ; {
		s.mu.Lock()
		undecided, moved := c.Moving()
		if !moved && undecided == nil {
			return s, true
		}
		s.mu.Unlock()
		if moved {
			return s, false
		}
		<-undecided // bounded by the transfer, which thaws or moves
	}
}

// forward has a change made in the process to which the connection has moved. The caller makes it here, too, without having it noted:
// for the action that still runs here and looks at what it has done.
func forward[Q, A any](ctx context.Context, ss *Sessions, op ask.Op[Q, A], c *hub.Conn, q Q) error {
	err := ask.Forward(ctx, ss.cfg.Nodes, op, c.FD, q)
	if errors.Is(err, ask.ErrGone) {
		return hub.ErrClosed
	}
	return err
}

// Export has take called with the session's state, which does not change meanwhile.
func (ss *Sessions) Export(c *hub.Conn, take func(state json.RawMessage)) {
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	take(s.export(c))
}

func (s *Session) export(c *hub.Conn) json.RawMessage {
	uids := c.Users()
	st := state{Keys: s.keys, Listeners: s.listeners, Values: s.values, Seen: s.seen, Marks: c.Received(), Rivals: s.rivals}
	if s.user != c.Auth.ID {
		st.User = s.user
	}
	for room, ticket := range s.announced {
		st.Announced = append(st.Announced, room)
		if ticket != "" {
			st.Untold = append(st.Untold, room)
		}
	}
	if own := c.Auth.ID; len(uids) == 0 {
		st.Unbound = own != ""
	} else if len(uids) > 1 || uids[0] != own {
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
	s := &Session{keys: st.Keys, listeners: st.Listeners, values: st.Values, seen: st.Seen, user: st.User, rivals: st.Rivals}
	if s.user == "" && len(st.Announced) > 0 {
		s.user = c.Auth.ID
	}
	for _, room := range st.Announced {
		s.announce(room, "")
	}
	for _, room := range st.Untold { // the previous worker may have told it just now
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
	for room, p := range st.Marks {
		c.SetReceived(room, p)
	}
	if ss.cfg.SecondLogin != loginAllow {
		s.logins = uids
	}
	return s, nil
}

// Traces is where Redis may know of a connection that is, or was, in those rooms.
func Traces(c *hub.Conn, rooms []string) cluster.Entry {
	s := Of(c)
	e := cluster.Entry{FD: c.FD}
	if c.Auth.Type == auth.TypeWechatUser {
		e.UID = c.Auth.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Keys = append(slices.Clip(rooms), s.keys...)
	e.Listeners = slices.Clone(s.listeners)
	return e
}

// Entry is what Redis is to know of a connection that is in those rooms.
func Entry(c *hub.Conn, rooms []string) cluster.Entry {
	e := Traces(c, rooms)
	e.Auth, _ = json.Marshal(c.Auth) // strings and a number: it cannot fail
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, room := range rooms {
		if ticket, ok := s.announced[room]; ok && ticket == "" {
			e.Present = append(e.Present, s.present(c, room))
		}
	}
	return e
}

// joinTime is how long a join from elsewhere may take that reads first what was missed.
const joinTime = 5 * time.Second
