package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/cluster"
	"wsframe/framework/hub"
)

// session is the framework's own state of a connection (hub.Conn.Data).
type session struct {
	mu        sync.Mutex
	keys      []string // close keys besides rooms
	listeners []string // controllers, by mounted name

	left atomic.Int64 // rooms left so far, counted before each
}

var (
	// ErrName is returned for room names and close keys that cannot be Redis keys of ours.
	ErrName = errors.New("names are 1 to 128 printable characters without spaces")
	// ErrTooManyKeys is returned when a connection has as many close keys or listeners as it may have.
	ErrTooManyKeys = errors.New("connection has too many close keys or listeners")
)

var safeName = regexp.MustCompile(`^[\pL\pN_.:@{}-]{1,128}$`)

func checkName(name string) error {
	if len(name) > 256 || !safeName.MatchString(name) {
		return fmt.Errorf("%.40q: %w", name, ErrName)
	}
	return nil
}

func sessionOf(c *hub.Conn) *session { return c.Data.(*session) }

func (a *App) join(c *hub.Conn, room string) error {
	if err := checkName(room); err != nil {
		return err
	}
	fresh, err := a.hub.Join(c, room)
	if fresh {
		a.node.KeyAdded(c.FD, room)
	}
	return err
}

func (a *App) leave(c *hub.Conn, room string) {
	sessionOf(c).left.Add(1)
	if a.hub.Leave(c, room) {
		a.node.KeyRemoved(c.FD, room)
	}
}

// add puts name into one of the session's lists. It tells whether it is new.
func (a *App) add(s *session, list *[]string, name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(*list, name) {
		return false, nil
	}
	if len(*list) >= a.cfg.Limits.CloseKeysPerConnection {
		return false, ErrTooManyKeys
	}
	*list = append(*list, name)
	return true, nil
}

func remove(s *session, list *[]string, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(*list, name)
	if i < 0 {
		return false
	}
	*list = slices.Delete(*list, i, i+1)
	return true
}

func (a *App) addCloseKey(c *hub.Conn, key string) error {
	if err := checkName(key); err != nil {
		return err
	}
	s := sessionOf(c)
	fresh, err := a.add(s, &s.keys, key)
	if fresh {
		a.node.CloseKeyAdded(c.FD, key)
	}
	return err
}

func (a *App) removeCloseKey(c *hub.Conn, key string) {
	s := sessionOf(c)
	if remove(s, &s.keys, key) {
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
	s := sessionOf(c)
	fresh, err := a.add(s, &s.listeners, t.name)
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
	s := sessionOf(c)
	if remove(s, &s.listeners, t.name) {
		a.node.ListenerRemoved(c.FD, t.name)
	}
}

// entry is what Redis is to know of a connection. keys is nil for a live one: its rooms are read.
func (a *App) entry(c *hub.Conn, rooms []string) cluster.Entry {
	s := sessionOf(c)
	identity, _ := json.Marshal(c.Auth) // strings and a number: it cannot fail
	e := cluster.Entry{FD: c.FD, Auth: identity}
	if c.Auth.Type == TypeWechatUser {
		e.UID = c.Auth.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Keys = append(slices.Clip(rooms), s.keys...)
	e.Listeners = slices.Clone(s.listeners)
	return e
}

// Closed implements hub.Handler: the listeners' OnClose, then the close keys, then the bookkeeping (contract §4).
func (a *App) Closed(c *hub.Conn, code int, reason string, rooms []string) {
	a.left(c.Remote)
	e := a.entry(c, rooms)
	a.tellListeners(e.Listeners, &Closed{FD: c.FD, Auth: c.Auth, Code: code, Reason: reason})
	a.node.Closed(e)
	if a.log.Core().Enabled(zap.DebugLevel) {
		a.log.Debug("connection ended", zap.Int64("fd", c.FD), zap.Int("code", code))
	}
}

// closeTime is how long the listeners of one connection may take before their context ends.
const closeTime = 5 * time.Second

func (a *App) tellListeners(names []string, closed *Closed) {
	if len(names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	closed.Context, closed.Sender = ctx, &a.Sender
	for _, name := range names {
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
	a.tellListeners(o.Listeners, &Closed{FD: o.FD, Auth: id, Code: hub.CloseAbnormal, Reason: "server ended"})
}

// protect runs a hook and logs its panic.
func (a *App) protect(what string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			a.log.Error("panic in "+what, zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
	}()
	f()
}
