package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/wire"
)

var (
	// ErrName is returned for room names and close keys that cannot be Redis keys of ours.
	ErrName = names.ErrRoom
	// ErrReserved is returned for room names and close keys that begin with WEBSOCKET_, with WSFRAME, or with what Reserve was given.
	ErrReserved = names.ErrReserved
	// ErrUID is returned for uids that nobody can have.
	ErrUID = names.ErrUID
	// ErrTooManyKeys is returned when a connection has as many close keys or listeners as it may have.
	ErrTooManyKeys = errors.New("connection has too many close keys or listeners")
)

// Reserve keeps names that begin with prefix from being rooms or close keys, in the whole process. A module calls it in an init
// function or where it makes its controllers, for the Redis keys of its own: else an application that lets clients name rooms lets
// them reach those keys. Prefixes are compared byte by byte. ErrName where prefix cannot begin a name. Safe for concurrent use.
func Reserve(prefix string) error { return names.Reserve(prefix) }

// JoinOption changes what a Join does.
type JoinOption func(*joining)

type joining struct{ announce, kept bool }

// Announce has the room's members told when this user comes and leaves (EventJoined, EventLeft). The user is the connection's uid: the
// token's id for the types of users.uid_types, else the first that was bound. A connection without one is not announced. Several
// connections of a user count once, and being away for less than 5 s counts for nothing. Rooms of the configuration's presence.rooms
// need no asking.
func Announce(j *joining) { j.announce = true }

// Kept says that pushes to the room are kept by their senders (Keep), so that its members are told where its history stands although
// nothing of it was kept so far: they miss nothing that is kept while they are away. Rooms of the configuration's history.rooms need no saying.
func Kept(j *joining) { j.kept = true }

func joinOptions(options []JoinOption) (j joining) {
	for _, o := range options {
		o(&j)
	}
	return j
}

// join puts the connection into the room; where its client said what it saw last of it, what it missed comes first.
func (a *App) join(ctx context.Context, c *hub.Conn, room string, j joining) error {
	if err := names.Room(room); err != nil {
		return err
	}
	s, here := a.own(c)
	if !here {
		err := forward(ctx, a, opJoin, c, joinQuestion{room, j.announce, j.kept})
		if err == nil {
			_, _ = c.Join(room) // for c.InRoom; it may be gone here
		}
		return err
	}
	p, back := s.takeSeen(room)
	var u *catchingUp // while there is one the connection does not move
	if back && !c.InRoom(room) {
		u = c.CatchUp(room) // nil where another join is at it
	}
	j.announce = j.announce || a.presences.covers(room)
	announced, err := a.enter(c, s, room, j, u == nil)
	s.mu.Unlock()
	switch {
	case u != nil && err != nil:
		u.End(nil, position{})
	case u != nil:
		a.history.CatchUp(ctx, &c.Member, u, &s.recoveries, room, p, history.Announce)
	}
	if announced {
		a.presences.came(c, room)
	}
	return err
}

// enter joins and has it noted. A leave from elsewhere at the same time is noted in the order in which it happened. announced = the
// room is to hear of it, and did not so far. place = the connection is told where the room's history stands. session.mu is held.
func (a *App) enter(c *hub.Conn, s *session, room string, j joining, place bool) (announced bool, err error) {
	join := c.Join
	if place {
		join = func(room string) (bool, error) { return a.history.Join(&c.Member, room, j.kept) }
	}
	fresh, err := join(room)
	if fresh {
		a.node.KeyAdded(c.FD, room)
	}
	if _, known := s.announced[room]; err != nil || !j.announce || known || s.presentAs(c) == "" {
		return false, err
	}
	s.announce(room, newTicket())
	return true, nil
}

// joinElsewhere is join for a goroutine that must not wait.
func (a *App) joinElsewhere(c *hub.Conn, room string, j joining) error {
	if !sessionOf(c).awaits(room) {
		return a.join(context.Background(), c, room, j)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		a.protect("a join from elsewhere", func() {
			if err := a.join(ctx, c, room, j); err != nil {
				a.log.Debug("join from elsewhere", zap.Int64("fd", c.FD), zap.Error(err))
			}
		})
	}()
	return nil
}

func (a *App) leave(c *hub.Conn, room string) bool {
	sessionOf(c).left.Add(1)
	s, here := a.own(c)
	if !here {
		return forward(context.Background(), a, opLeave, c, roomQuestion{room}) == nil && c.Leave(room)
	}
	defer s.mu.Unlock()
	was := c.Leave(room)
	if was {
		a.presences.left(c, s, room, true)
		a.node.KeyRemoved(c.FD, room)
	}
	return was
}

// add puts name into one of a session's lists. It tells whether it is new.
func (a *App) add(list *[]string, name string) (bool, error) {
	if slices.Contains(*list, name) {
		return false, nil
	}
	if len(*list) >= a.cfg.Limits.CloseKeysPerConnection {
		return false, ErrTooManyKeys
	}
	*list = append(*list, name)
	return true, nil
}

func remove(list *[]string, name string) bool {
	i := slices.Index(*list, name)
	if i < 0 {
		return false
	}
	*list = slices.Delete(*list, i, i+1)
	return true
}

func (a *App) addCloseKey(c *hub.Conn, key string) error {
	if err := names.Room(key); err != nil {
		return err
	}
	s, here := a.own(c)
	if !here {
		return forward(context.Background(), a, opAddKey, c, nameQuestion{key})
	}
	defer s.mu.Unlock()
	fresh, err := a.add(&s.keys, key)
	if fresh {
		a.node.CloseKeyAdded(c.FD, key)
	}
	return err
}

func (a *App) removeCloseKey(c *hub.Conn, key string) {
	s, here := a.own(c)
	if !here {
		_ = forward(context.Background(), a, opRemoveKey, c, nameQuestion{key}) // logged there
		return
	}
	defer s.mu.Unlock()
	if remove(&s.keys, key) {
		a.node.CloseKeyRemoved(c.FD, key)
	}
}

func (a *App) listener(name string) (*Controller, error) {
	name = strings.ToLower(name)
	if !strings.Contains(name, ".") {
		name = "index." + name
	}
	t := a.router.controllers[name]
	if t == nil || t.hooks.close == nil {
		return nil, fmt.Errorf("close listener %.64q: no mounted controller of that name has OnClose", name)
	}
	return t, nil
}

func (a *App) addListener(c *hub.Conn, name string) error {
	t, err := a.listener(name)
	if err != nil {
		return err
	}
	s, here := a.own(c)
	if !here {
		return forward(context.Background(), a, opAddListener, c, nameQuestion{t.name})
	}
	defer s.mu.Unlock()
	fresh, err := a.add(&s.listeners, t.name)
	if fresh {
		a.node.ListenerAdded(c.FD, t.name)
	}
	return err
}

func (a *App) removeListener(c *hub.Conn, name string) {
	t, err := a.listener(name)
	if err != nil {
		return
	}
	s, here := a.own(c)
	if !here {
		_ = forward(context.Background(), a, opRemoveListener, c, nameQuestion{t.name}) // logged there
		return
	}
	defer s.mu.Unlock()
	if remove(&s.listeners, t.name) {
		a.node.ListenerRemoved(c.FD, t.name)
	}
}

// entry is what Redis is to know of a connection that is in those rooms.
func (a *App) entry(c *hub.Conn, rooms []string) cluster.Entry {
	e := a.traces(c, rooms)
	e.Auth, _ = json.Marshal(c.Auth) // strings and a number: it cannot fail
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, room := range rooms {
		if ticket, ok := s.announced[room]; ok && ticket == "" {
			e.Present = append(e.Present, s.present(c, room))
		}
	}
	return e
}

// traces is where Redis may know of a connection.
func (a *App) traces(c *hub.Conn, rooms []string) cluster.Entry {
	s := sessionOf(c)
	e := cluster.Entry{FD: c.FD}
	if c.Auth.Type == TypeWechatUser {
		e.UID = c.Auth.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Keys = append(slices.Clip(rooms), s.keys...)
	e.Listeners = slices.Clone(s.listeners)
	return e
}

// Closed implements hub.Handler: the listeners' OnClose, then the close keys, then the bookkeeping (contract §4). A node that was
// declared dead leaves all that to whoever did so; while Redis does not answer nobody knows whether it was, and it waits.
func (a *App) Closed(c *hub.Conn, code int, reason string, rooms []string) {
	a.accept.Left(c.Remote)
	a.countClosed(c, code, reason)
	e := a.traces(c, rooms)
	end := func(owned bool) {
		if owned {
			a.tellListeners(e.Listeners, &Closed{FD: c.FD, Auth: c.Auth, Code: code, Reason: reason})
		}
		s := sessionOf(c)
		s.mu.Lock()
		for _, room := range rooms { // also where another node cleans up: it may not have known of all of them
			a.presences.left(c, s, room, owned)
		}
		s.mu.Unlock()
		if owned {
			a.node.Closed(e)
		}
		if a.log.Core().Enabled(zap.DebugLevel) {
			a.log.Debug("connection ended", zap.Int64("fd", c.FD), zap.Int("code", code))
		}
	}
	if mine, known := a.node.Owner(c.FD); known {
		end(mine)
	} else {
		a.endings.hold(c.FD, end)
	}
}

// countClosed counts what the server has closed. What a client or a slow line has brought about is logged, once a minute for each reason.
func (a *App) countClosed(c *hub.Conn, code int, reason string) {
	if !c.ClosedHere() {
		return
	}
	switch code {
	case wire.CloseProtocolError, wire.CloseBadData, wire.ClosePolicy, wire.CloseTooLarge, wire.CloseInternal, wire.CloseSlow:
		if n := a.closed.Note(code, reason, time.Now()); n > 0 {
			a.log.Warn("connection closed", zap.Int("code", code), zap.String("reason", reason), zap.Int64("since_last", n),
				zap.Int64("fd", c.FD), zap.String("remote", c.Remote))
		}
	case wire.CloseNormal, wire.CloseGoingAway, wire.CloseRestart, wire.CloseIdle, CloseReplaced, CloseRefused:
		a.closed.Note(code, reason, time.Now())
	default: // a Kick, with words of the application's
		a.closed.Note(code, "application", time.Now())
	}
}

// deposed closes the connections of before this node was declared dead; their clients come back at once.
func (a *App) deposed(floor int64) {
	a.hub.Each(func(c *hub.Conn) bool {
		if c.FD < floor {
			hub.CloseAfter([]*hub.Conn{c}, wire.CloseRestart, "server was away")
		}
		return true
	})
}

// closeTime is how long the listeners of one connection may take before their context ends.
const closeTime = 5 * time.Second

func (a *App) tellListeners(list []string, closed *Closed) {
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	closed.Context, closed.Sender = ctx, &a.Sender
	for _, name := range list {
		t := a.router.controllers[name]
		if t == nil || t.hooks.close == nil {
			continue // unmounted by a reload
		}
		a.protect("OnClose of "+name, func() { t.hooks.close(closed) })
	}
}

// orphan runs the close listeners of a connection whose process died.
func (a *App) orphan(_ context.Context, o cluster.Orphan) {
	var id Identity
	if err := json.Unmarshal(o.Auth, &id); err != nil {
		a.log.Warn("identity of a dead connection cannot be read", zap.Int64("fd", o.FD), zap.Error(err))
	}
	a.tellListeners(o.Listeners, &Closed{FD: o.FD, Auth: id, Code: wire.CloseAbnormal, Reason: "server ended"})
}

// protect runs a hook and logs its panic, or that it has ended its goroutine: which is one of its own for that.
func (a *App) protect(what string, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended := false
		defer func() {
			if v := recover(); v != nil {
				a.log.Error("panic in "+what, zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			} else if !ended {
				a.log.Error(what+" has ended its goroutine", zap.ByteString("stack", debug.Stack()))
			}
		}()
		f()
		ended = true
	}()
	<-done
}
