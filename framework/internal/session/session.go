// Package session keeps the state that belongs to one connection: close keys and close listeners,
// session values, bound uids, the positions that its client has seen, and the rooms that announce
// it.
//
// Sessions changes that state, for connections of this node and of others: a change of another
// node's connection is a question to that node (package ask). A connection that has moved to the
// next worker is changed there. Logins decides which connection stays when a user logs in again.
//
// The root package makes both; presence, closing, roomsync and reload read the state. A Session's
// lock guards all of it, and is the outermost lock of a connection: a room's, the hub's and the
// journal's locks are taken under it, so that Redis gets the changes in the order in which they
// happened. Nothing waits under it. All methods are safe for concurrent use.
package session

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"wsframe/framework/auth"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/room"
)

// Session is the state of a connection (hub.Conn.Data).
type Session struct {
	mu        sync.Mutex
	keys      []string          // close keys besides rooms
	listeners []string          // close listeners: mounted names of controllers
	user      string            // uid under which rooms announce it; "" = none does
	announced map[string]string // ticket by announcing room; "" = its members were notified
	values    map[string]json.RawMessage
	seen      map[string]room.Position // the client's positions in rooms that it has not joined yet

	second *secondLogin // nil = none was seen

	php     atomic.Pointer[PHP] // replaced under mu; nil = PHP programs keep nothing
	Foreign Foreign             // see SetForeign; nil = its messages are routed

	leaves atomic.Int64 // rooms left so far, counted before each leave

	Acting     atomic.Pointer[string] // method of the running action; nil = none
	recoveries history.Budget
	Pages      history.Budget // budget of sys.history
}

// New makes the session of a new connection. seen holds the last positions that its client saw.
func New(seen map[string]room.Position) *Session { return &Session{seen: seen} }

// Of returns the session of a connection.
func Of(c *hub.Conn) *Session { return c.Data.(*Session) }

// lock locks the session of a connection for a change. While the connection is being moved, lock
// waits for the outcome: a change is part of the moved state, or is made where the connection is
// afterwards. A goroutine for which a move waits must not call it. When the connection has moved,
// here is false and nothing is locked: see forward.
func lock(c *hub.Conn) (s *Session, here bool) {
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
		<-undecided // closed in bounded time: the transfer either moves or thaws
	}
}

// Traces returns everything by which Redis may know a connection that is, or was, in those rooms.
func Traces(c *hub.Conn, rooms []string) cluster.Entry {
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.traces(c, rooms)
}

// traces is Traces for a caller that holds mu.
func (s *Session) traces(c *hub.Conn, rooms []string) cluster.Entry {
	e := cluster.Entry{FD: c.FD, Keys: append(slices.Clip(rooms), s.keys...), Listeners: slices.Clone(s.listeners)}
	if c.Auth.Type == auth.TypeWechatUser {
		e.UID = c.Auth.ID
	}
	return e
}

// Entry returns what Redis must know of a live connection that is in those rooms.
func Entry(c *hub.Conn, rooms []string) cluster.Entry {
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.traces(c, rooms)
	e.Auth = identityJSON(c.Auth)
	for _, room := range rooms {
		if ticket, ok := s.announced[room]; ok && ticket == "" {
			e.Present = append(e.Present, s.present(c, room))
		}
	}
	return e
}

// SetForeign has a connection's messages not routed, before its reader begins.
func (s *Session) SetForeign(f Foreign) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Foreign = f
}

// PHP returns what PHP programs keep with the connection. It takes no lock.
func (s *Session) PHP() PHP {
	if p := s.php.Load(); p != nil {
		return *p
	}
	return PHP{}
}

// ChangePHP calls change, which must not call this package, with what PHP programs keep.
func (s *Session) ChangePHP(change func(p *PHP)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.PHP()
	change(&p)
	s.php.Store(&p)
}

// exportPHP returns what moves; nil = nothing. mu is held.
func (s *Session) exportPHP() *PHP {
	foreign, ok := s.Foreign.(PHPForeign)
	if s.php.Load() == nil && !ok {
		return nil
	}
	p := s.PHP()
	if ok {
		p.Foreign, p.Events = true, foreign.Export()
	}
	return &p
}
