package framework

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/hub"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/names"
)

// What a second login does (users.second_login).
const (
	loginAllow   = "allow"
	loginReplace = "replace"
	loginRefuse  = "refuse"
)

// identify binds a new connection to its token's id, where the id of that type of user is a uid (users.uid_types). Ids of two types may
// be the same text and belong to two people.
func (a *App) identify(c *hub.Conn) {
	types := a.cfg.Users.UIDTypes
	if (slices.Contains(types, c.Auth.Type) || slices.Contains(types, "*")) && names.UID(c.Auth.ID) == nil {
		_ = a.bind(c, c.Auth.ID) // it has ended already
	}
}

// bind has a connection found by a uid, and the user's others hear of it where there can be only one.
func (a *App) bind(c *hub.Conn, uid string) error {
	s, here := a.own(c)
	if !here {
		err := a.elsewhere(context.Background(), query{Op: "bind", FD: c.FD, UID: uid})
		if err == nil {
			_, _ = a.hub.Bind(c, uid) // for c.UIDs; it may be gone here
		}
		return err
	}
	fresh, err := a.hub.Bind(c, uid)
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
	} else if a.elsewhere(context.Background(), query{Op: "unbind", FD: c.FD, UID: uid}) != nil {
		return
	}
	a.hub.Unbind(c, uid)
}

// loggedIn compares a login with the user's connections here. All nodes see a user's logins in one order, and a login counts from
// its turn on: so of any number at the same time exactly one stays, the last or the first.
func (a *App) loggedIn(m *bus.Message) {
	fd, err := strconv.ParseInt(string(m.Body), 10, 64)
	if err != nil {
		a.log.Warn("login on another node", zap.Error(err))
		return
	}
	conns := a.hub.User(m.Key)
	var mine *hub.Conn
	refused := false
	for _, c := range conns {
		s := sessionOf(c)
		switch {
		case c.FD == fd:
			mine = c
		case c.Doomed() || !s.hasClaim(m.Key):
		case a.cfg.Users.SecondLogin == loginReplace:
			hub.CloseBehind([]*hub.Conn{c}, CloseReplaced, "logged in elsewhere")
		case a.cfg.Users.SecondLogin == loginRefuse:
			refused = true
		}
	}
	switch {
	case refused && mine != nil:
		mine.Close(CloseRefused, "connected already")
	case refused:
		body, _ := json.Marshal(fd) // a number: it cannot fail
		if err := a.link.Send(&bus.Message{Kind: envelope.Refusal, Key: m.Key, Body: body}); err != nil {
			a.log.Warn("second login cannot be refused", zap.Error(err))
		}
	case mine != nil:
		sessionOf(mine).claim(m.Key)
	}
}

// loginRefused closes a connection whose user another node has.
func (a *App) loginRefused(m *bus.Message) {
	fd, err := strconv.ParseInt(string(m.Body), 10, 64)
	if err != nil {
		return
	}
	if c := a.hub.Get(fd); c != nil {
		c.Close(CloseRefused, "connected already")
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
