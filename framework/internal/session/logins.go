package session

import (
	"context"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// The reasons of wire.CloseReplaced and wire.CloseRefused.
const (
	closeReplaced = "logged in elsewhere"
	closeRefused  = "connected already"
)

// The policies for second logins (users.second_login).
const (
	loginAllow   = "allow"
	loginReplace = "replace"
	loginRefuse  = "refuse"
)

const (
	// pongTime is how long an earlier connection may be silent after a ping before a later login of
	// its user replaces it.
	pongTime     = 2 * time.Second
	pongInterval = 25 * time.Millisecond // between two looks at what has arrived

	// pongLimit ends a wait in which silence cannot be measured: the connection is being moved, or
	// has sent more than is read ahead of its action.
	pongLimit = 10 * time.Second

	// maxRivals limits the logins that wait for one earlier connection. Further ones are refused at
	// once.
	maxRivals = 64
)

// rival is a login that waits until it is known whether an earlier connection of its user is alive.
type rival struct {
	uid string
	fd  int64
}

// secondLogin is what a session keeps for second logins. Where they are allowed, there is none.
type secondLogin struct {
	bound  []string // uids whose common order of logins has reached this connection's login
	rivals []rival  // later logins that wait to know whether this connection is alive
}

// contested returns the session's part for second logins, and makes it. mu is held, or nobody else
// knows the session yet.
func (s *Session) contested() *secondLogin {
	if s.second == nil {
		s.second = &secondLogin{}
	}
	return s.second
}

// rivals returns the logins that wait. mu is held.
func (s *Session) rivals() []rival {
	if s.second == nil {
		return nil
	}
	return s.second.rivals
}

// Link sends messages to the other nodes (package link).
type Link interface {
	Send(m *bus.Message) error
}

// Logins decides which connections of a user stay when the user logs in again (users.second_login).
// All nodes receive the logins of one user in one order, as messages of the bus. A login counts
// from its turn in that order on, so of any number of simultaneous logins exactly one stays: the
// last one (replace), or the first one whose connection is alive (refuse).
type Logins struct {
	hub    *hub.Hub
	link   Link
	policy string
	life   context.Context // ends when this worker no longer serves
	log    *zap.Logger
}

// send tells all nodes, this one included, of a login.
func (l *Logins) send(fd int64, uid string) error {
	if l.policy == loginAllow {
		return nil
	}
	return l.link.Send(&bus.Message{Kind: envelope.Login, Key: uid, Body: strconv.AppendInt(nil, fd, 10)})
}

// Received applies a login, of whatever node, to the user's earlier connections on this node.
func (l *Logins) Received(m *bus.Message) {
	fd, err := strconv.ParseInt(string(m.Body), 10, 64)
	if err != nil {
		l.log.Warn("login on another node", zap.Error(err))
		return
	}
	for _, c := range l.hub.User(m.Key) {
		switch {
		case c.FD == fd:
			Of(c).addBoundLogin(m.Key)
		case c.ClosingSoon() || !Of(c).hasBoundLogin(m.Key):
		case l.policy == loginReplace:
			hub.CloseAfter([]*hub.Conn{c}, wire.CloseReplaced, closeReplaced)
		case l.policy == loginRefuse:
			l.contest(c, rival{m.Key, fd})
		}
	}
}

// contest queues a login until it is known whether the earlier connection is alive. It must not
// wait, so a connection that is being moved counts as alive: the refused client reconnects after
// the move.
func (l *Logins) contest(earlier *hub.Conn, r rival) {
	s := Of(earlier)
	s.mu.Lock()
	undecided, moved := earlier.Moving()
	queued := undecided == nil && !moved && len(s.rivals()) < maxRivals
	if queued {
		s.contested().rivals = append(s.rivals(), r)
	}
	first := len(s.rivals()) == 1
	s.mu.Unlock()
	switch {
	case !queued:
		l.refuse(r)
	case first:
		go l.settle(earlier)
	}
}

// settle pings the earlier connection. If it is alive, the queued logins are refused; if not, it is
// closed. If it moves meanwhile, the queued logins move along, and the next worker settles them.
func (l *Logins) settle(earlier *hub.Conn) {
	alive := l.alive(earlier)
	s, here := lock(earlier)
	if !here {
		return
	}
	rivals := s.rivals()
	s.contested().rivals = nil
	s.mu.Unlock()
	if l.life.Err() != nil {
		return
	}
	uids := earlier.Users()
	for _, r := range rivals {
		switch {
		case !slices.Contains(uids, r.uid): // unbound meanwhile
		case alive:
			l.refuse(r)
		default:
			hub.CloseAfter([]*hub.Conn{earlier}, wire.CloseReplaced, closeReplaced)
			return
		}
	}
}

// alive pings a connection and reports whether anything arrives within pongTime. Only the time in
// which this process runs and reads counts.
func (l *Logins) alive(c *hub.Conn) bool {
	before, _ := c.BytesReceived()
	c.Ping()
	tick := time.NewTicker(pongInterval)
	defer tick.Stop()
	silence := time.Duration(0)
	for range pongLimit / pongInterval {
		select {
		case <-tick.C:
		case <-l.life.Done():
			return true
		}
		now, known := c.BytesReceived()
		switch {
		case c.Gone():
			return false
		case now != before:
			return true
		case known:
			if silence += pongInterval; silence >= pongTime {
				return false
			}
		}
	}
	return true
}

// refuse closes the connection of a login, on whatever node it is.
func (l *Logins) refuse(r rival) {
	if l.closeRefused(r.fd) {
		return
	}
	if err := l.link.Send(&bus.Message{Kind: envelope.Refusal, Key: r.uid, Body: strconv.AppendInt(nil, r.fd, 10)}); err != nil {
		l.log.Warn("second login cannot be refused", zap.Error(err))
	}
}

// Refused closes the connection of a login that another node has refused.
func (l *Logins) Refused(m *bus.Message) {
	if fd, err := strconv.ParseInt(string(m.Body), 10, 64); err == nil {
		l.closeRefused(fd)
	}
}

// closeRefused reports whether this node has the connection.
func (l *Logins) closeRefused(fd int64) bool {
	c := l.hub.Get(fd)
	if c != nil {
		c.Close(wire.CloseRefused, closeRefused)
	}
	return c != nil
}

// resume settles the logins that moved to this worker together with an earlier connection.
func (l *Logins) resume(c *hub.Conn) {
	if Of(c).LoginsWait() > 0 {
		go l.settle(c)
	}
}

func (s *Session) addBoundLogin(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contested().bound = append(s.contested().bound, uid)
}

func (s *Session) hasBoundLogin(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.second != nil && slices.Contains(s.second.bound, uid)
}

// LoginsWait returns the number of logins that wait for this connection.
func (s *Session) LoginsWait() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rivals())
}
