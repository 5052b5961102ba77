package framework

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
)

// The reasons of CloseReplaced and CloseRefused.
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

// identify binds a new connection to its token's id, where the id of that type of user is a uid
// (users.uid_types). Ids of two types may be the same text and belong to two people.
func (a *App) identify(c *hub.Conn) {
	types := a.cfg.Users.UIDTypes
	if (slices.Contains(types, c.Auth.Type) || slices.Contains(types, "*")) && names.UID(c.Auth.ID) == nil {
		_ = a.bind(c, c.Auth.ID) // it has ended already
	}
}

// bind has a connection found by a uid, and the user's others hear of it where there can be only
// one.
func (a *App) bind(c *hub.Conn, uid string) error {
	s, here := a.own(c)
	if !here {
		err := forward(context.Background(), a, opBind, c, uidQuestion{uid})
		if err == nil {
			_, _ = c.Bind(uid) // for c.UIDs; it may be gone here
		}
		return err
	}
	fresh, err := c.Bind(uid)
	s.mu.Unlock()
	if err != nil || !fresh || a.cfg.Users.SecondLogin == loginAllow {
		return err
	}
	return a.link.Send(&bus.Message{Kind: envelope.Login, Key: uid, Body: strconv.AppendInt(nil, c.FD, 10)})
}

func (a *App) unbind(c *hub.Conn, uid string) {
	s, here := a.own(c)
	if here {
		defer s.mu.Unlock()
	} else if forward(context.Background(), a, opUnbind, c, uidQuestion{uid}) != nil {
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

// loggedIn compares a login with the user's connections here. All nodes see a user's logins in one
// order, and a login counts from its turn on: so of any number at the same time exactly one stays.
// That is the last, or the first of those that answer.
func (a *App) loggedIn(m *bus.Message) {
	fd, err := strconv.ParseInt(string(m.Body), 10, 64)
	if err != nil {
		a.log.Warn("login on another node", zap.Error(err))
		return
	}
	for _, c := range a.hub.User(m.Key) {
		switch {
		case c.FD == fd:
			sessionOf(c).claim(m.Key)
		case c.Doomed() || !sessionOf(c).hasClaim(m.Key):
		case a.cfg.Users.SecondLogin == loginReplace:
			hub.CloseAfter([]*hub.Conn{c}, CloseReplaced, closeReplaced)
		case a.cfg.Users.SecondLogin == loginRefuse:
			a.contest(c, rival{m.Key, fd})
		}
	}
}

// contest has the login wait for the connection's answer. It waits for nobody itself, so a
// connection that is being moved counts as one that answers: the refused client comes back when the
// move is over.
func (a *App) contest(c *hub.Conn, r rival) {
	s := sessionOf(c)
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
		a.refuseLogin(r)
	case first:
		go a.settleLogins(c)
	}
}

// settleLogins pings the connection, and refuses the logins that wait for its answer or closes it.
// Where it moves meanwhile, the logins move along and the next worker pings it.
func (a *App) settleLogins(c *hub.Conn) {
	answers := a.answers(c)
	s, here := a.own(c)
	if !here {
		return
	}
	rivals := s.rivals
	s.rivals = nil
	s.mu.Unlock()
	if a.life.Err() != nil {
		return
	}
	uids := c.Users()
	for _, r := range rivals {
		switch {
		case !slices.Contains(uids, r.uid): // it is this user's no longer
		case answers:
			a.refuseLogin(r)
		default:
			hub.CloseAfter([]*hub.Conn{c}, CloseReplaced, closeReplaced)
			return
		}
	}
}

// answers tells whether anything comes from the connection within answerTime. Only time counts in
// which this process runs and reads.
func (a *App) answers(c *hub.Conn) bool {
	before, _ := c.Heard()
	c.Ping()
	look := time.NewTicker(answerLook)
	defer look.Stop()
	silence := time.Duration(0)
	for range answerLimit / answerLook {
		select {
		case <-look.C:
		case <-a.life.Done():
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
func (a *App) refuseLogin(r rival) {
	if c := a.hub.Get(r.fd); c != nil {
		c.Close(CloseRefused, closeRefused)
		return
	}
	if err := a.link.Send(&bus.Message{Kind: envelope.Refusal, Key: r.uid, Body: strconv.AppendInt(nil, r.fd, 10)}); err != nil {
		a.log.Warn("second login cannot be refused", zap.Error(err))
	}
}

// loginRefused closes a connection whose user another node has.
func (a *App) loginRefused(m *bus.Message) {
	fd, err := strconv.ParseInt(string(m.Body), 10, 64)
	if err != nil {
		return
	}
	if c := a.hub.Get(fd); c != nil {
		c.Close(CloseRefused, closeRefused)
	}
}

func (s *session) claim(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = append(s.claims, uid)
}

func (s *session) hasClaim(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.claims, uid)
}
