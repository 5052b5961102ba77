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
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/wire"
)

// The reasons of wire.CloseReplaced and wire.CloseRefused.
const (
	closeReplaced = "logged in elsewhere"
	closeRefused  = "connected already"
)

// What a second login does (users.second_login).
const (
	loginAllow   = "allow"
	loginReplace = "replace"
	loginRefuse  = "refuse"
)

// Identify binds a new connection to its token's id, where the id of that type of user is a uid
// (users.uid_types). Ids of two types may be the same text and belong to two people.
func (ss *Sessions) Identify(c *hub.Conn) {
	types := ss.cfg.UIDTypes
	if (slices.Contains(types, c.Auth.Type) || slices.Contains(types, "*")) && names.UID(c.Auth.ID) == nil {
		_ = ss.Bind(c, c.Auth.ID) // it has ended already
	}
}

// Bind has a connection found by a uid, and the user's others hear of it where there can be only
// one.
func (ss *Sessions) Bind(c *hub.Conn, uid string) error {
	s, here := ss.lock(c)
	if !here {
		err := forward(context.Background(), ss, opBind, c, uidQuestion{uid})
		if err == nil {
			_, _ = c.Bind(uid) // for c.UIDs; it may be gone here
		}
		return err
	}
	fresh, err := c.Bind(uid)
	s.mu.Unlock()
	if err != nil || !fresh || ss.cfg.SecondLogin == loginAllow {
		return err
	}
	return ss.cfg.Link.Send(&bus.Message{Kind: envelope.Login, Key: uid, Body: strconv.AppendInt(nil, c.FD, 10)})
}

// Unbind undoes Bind.
func (ss *Sessions) Unbind(c *hub.Conn, uid string) {
	s, here := ss.lock(c)
	if here {
		defer s.mu.Unlock()
	} else if forward(context.Background(), ss, opUnbind, c, uidQuestion{uid}) != nil {
		return
	}
	c.Unbind(uid)
}

// answerTime is how long a connection has to answer a ping before a newer login of its user takes
// its place.
const (
	answerTime = 2 * time.Second
	answerLook = 25 * time.Millisecond
	// answerLimit ends the wait where nobody can tell: the connection is being moved, or what it
	// sent is too much to be looked through.
	answerLimit = 10 * time.Second
	// maxRivals bounds the logins that wait for the answer of one connection; more are refused at
	// once.
	maxRivals = 64
)

// rival is a login that waits for the answer of an earlier connection of the same user.
type rival struct {
	uid string
	fd  int64
}

// LoggedIn compares a login with the user's connections here. All nodes see a user's logins in one
// order, and a login counts from its turn on: so of any number at the same time exactly one stays.
// That is the last, or the first of those that answer.
func (ss *Sessions) LoggedIn(m *bus.Message) {
	fd, err := strconv.ParseInt(string(m.Body), 10, 64)
	if err != nil {
		ss.cfg.Log.Warn("login on another node", zap.Error(err))
		return
	}
	for _, c := range ss.cfg.Hub.User(m.Key) {
		switch {
		case c.FD == fd:
			Of(c).addLogin(m.Key)
		case c.ClosingSoon() || !Of(c).hasLogin(m.Key):
		case ss.cfg.SecondLogin == loginReplace:
			hub.CloseAfter([]*hub.Conn{c}, wire.CloseReplaced, closeReplaced)
		case ss.cfg.SecondLogin == loginRefuse:
			ss.contest(c, rival{m.Key, fd})
		}
	}
}

// contest has the login wait for the connection's answer. It waits for nobody itself, so a
// connection that is being moved counts as one that answers: the refused client comes back when the
// move is over.
func (ss *Sessions) contest(c *hub.Conn, r rival) {
	s := Of(c)
	s.mu.Lock()
	undecided, moved := c.Moving()
	waits := undecided == nil && !moved && len(s.rivals) < maxRivals
	if waits {
		s.rivals = append(s.rivals, r)
	}
	first := len(s.rivals) == 1
	s.mu.Unlock()
	switch {
	case !waits:
		ss.refuseLogin(r)
	case first:
		go ss.settleLogins(c)
	}
}

// settleLogins pings the connection, and refuses the logins that wait for its answer or closes it.
// Where it moves meanwhile, the logins move along and the next worker pings it.
func (ss *Sessions) settleLogins(c *hub.Conn) {
	answers := ss.answers(c)
	s, here := ss.lock(c)
	if !here {
		return
	}
	rivals := s.rivals
	s.rivals = nil
	s.mu.Unlock()
	if ss.cfg.Life.Err() != nil {
		return
	}
	uids := c.Users()
	for _, r := range rivals {
		switch {
		case !slices.Contains(uids, r.uid): // it is this user's no longer
		case answers:
			ss.refuseLogin(r)
		default:
			hub.CloseAfter([]*hub.Conn{c}, wire.CloseReplaced, closeReplaced)
			return
		}
	}
}

// answers tells whether anything comes from the connection within answerTime. Only time counts in
// which this process runs and reads.
func (ss *Sessions) answers(c *hub.Conn) bool {
	before, _ := c.Heard()
	c.Ping()
	look := time.NewTicker(answerLook)
	defer look.Stop()
	silence := time.Duration(0)
	for range answerLimit / answerLook {
		select {
		case <-look.C:
		case <-ss.cfg.Life.Done():
			return true
		}
		now, known := c.Heard()
		switch {
		case c.Gone():
			return false
		case now != before:
			return true
		case known:
			if silence += answerLook; silence >= answerTime {
				return false
			}
		}
	}
	return true
}

// refuseLogin closes the connection of a login whose user is connected already, on whatever node.
func (ss *Sessions) refuseLogin(r rival) {
	if c := ss.cfg.Hub.Get(r.fd); c != nil {
		c.Close(wire.CloseRefused, closeRefused)
		return
	}
	if err := ss.cfg.Link.Send(&bus.Message{Kind: envelope.Refusal, Key: r.uid, Body: strconv.AppendInt(nil, r.fd, 10)}); err != nil {
		ss.cfg.Log.Warn("second login cannot be refused", zap.Error(err))
	}
}

// LoginRefused closes a connection whose user another node has.
func (ss *Sessions) LoginRefused(m *bus.Message) {
	fd, err := strconv.ParseInt(string(m.Body), 10, 64)
	if err != nil {
		return
	}
	if c := ss.cfg.Hub.Get(fd); c != nil {
		c.Close(wire.CloseRefused, closeRefused)
	}
}

func (s *Session) addLogin(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins = append(s.logins, uid)
}

func (s *Session) hasLogin(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.logins, uid)
}

// Begin goes on with what the connection has waited for in the previous worker.
func (ss *Sessions) Begin(c *hub.Conn) {
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rivals) > 0 {
		go ss.settleLogins(c)
	}
}

// LoginsWait is the number of logins that wait for this connection's answer.
func (s *Session) LoginsWait() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rivals)
}
