package framework

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/closing"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/presence"
	"wsframe/framework/internal/session"
)

var (
	// ErrName is returned for room names and close keys that cannot be Redis keys of ours.
	ErrName = names.ErrRoom
	// ErrReserved is returned for room names and close keys that begin with WEBSOCKET_, with WSFRAME, or with what Reserve was given.
	ErrReserved = names.ErrReserved
	// ErrUID is returned for uids that nobody can have.
	ErrUID = names.ErrUID
	// ErrTooManyKeys is returned when a connection has as many close keys or listeners as it may have.
	ErrTooManyKeys = session.ErrTooManyKeys
	// ErrSessionSize is returned when a session's values would take more than 16 KiB as JSON.
	ErrSessionSize = session.ErrSize
)

// Reserve keeps names that begin with prefix from being rooms or close keys, in the whole process. A module calls it in an init
// function or where it makes its controllers, for the Redis keys of its own: else an application that lets clients name rooms lets
// them reach those keys. Prefixes are compared byte by byte. ErrName where prefix cannot begin a name. Safe for concurrent use.
func Reserve(prefix string) error { return names.Reserve(prefix) }

// Events of announced rooms; param is {"room","id","nickname"}.
const (
	EventJoined = presence.EventJoined
	EventLeft   = presence.EventLeft
)

// JoinOption changes what a Join does.
type JoinOption func(*joining)

type joining = session.Joining

// Announce has the room's members told when this user comes and leaves (EventJoined, EventLeft). The user is the connection's uid: the
// token's id for the types of users.uid_types, else the first that was bound. A connection without one is not announced. Several
// connections of a user count once, and being away for less than 5 s counts for nothing. Rooms of the configuration's presence.rooms
// need no asking.
func Announce(j *joining) { j.Announce = true }

// Kept says that pushes to the room are kept by their senders (Keep), so that its members are told where its history stands although
// nothing of it was kept so far: they miss nothing that is kept while they are away. Rooms of the configuration's history.rooms need no saying.
func Kept(j *joining) { j.Kept = true }

func joinOptions(options []JoinOption) (j joining) {
	for _, o := range options {
		o(&j)
	}
	return j
}

// listenerName is the mounted name of a controller that has OnClose.
func (a *App) listenerName(name string) (string, error) {
	name = strings.ToLower(name)
	if !strings.Contains(name, ".") {
		name = "index." + name
	}
	t := a.router.controllers[name]
	if t == nil || t.hooks.close == nil {
		return "", fmt.Errorf("close listener %.64q: no mounted controller of that name has OnClose", name)
	}
	return t.name, nil
}

// Closed implements hub.Handler.
func (a *App) Closed(c *hub.Conn, code int, reason string, rooms []string) {
	a.accept.Release(c.Remote)
	a.closer.Ended(c, code, reason, rooms)
}

// closeTime is how long the listeners of one connection may take before their context ends.
const closeTime = 5 * time.Second

// notifyListeners runs the OnClose of mounted controllers.
func (a *App) notifyListeners(list []string, e closing.End) {
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	closed := &Closed{Context: ctx, Sender: &a.Sender, FD: e.FD, Auth: e.Auth, Code: e.Code, Reason: e.Reason}
	for _, name := range list {
		t := a.router.controllers[name]
		if t == nil || t.hooks.close == nil {
			continue // unmounted by a reload
		}
		a.protect("OnClose of "+name, func() { t.hooks.close(closed) })
	}
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
