package framework

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
)

// Ctx is the context of one frame, given to an action. Its methods are about the action's own
// connection; Server reaches all others.
//
// A Ctx is a context.Context that is cancelled when its connection's end begins: the client has gone,
// which is seen within 2 s also while the action runs, or the server closes the connection. Work that
// must be finished nevertheless takes context.WithoutCancel(c). A Ctx may be kept, and used by other
// goroutines.
type Ctx struct {
	FD     int64    // the connection's number, unique over all nodes and restarts
	Auth   Identity // from the token, never from the frame
	Method string   // module.controller.action in lower case, for a Guard to decide by

	// Requested is the method as the client wrote it. A route has many spellings: nothing may be
	// allowed or refused by this one, and it must not be logged raw.
	Requested string

	server *Server
	conn   *hub.Conn
	route  string // of the action that runs
	body   []byte
	wrote  []byte // body before it was HTML-escaped; nil where it was not
	ending ending
	values atomic.Pointer[value]
}

// Server reaches other connections, users and rooms.
func (c *Ctx) Server() *Server { return c.server }

// Publish sends a frame to every member of a room, as Server.Publish does.
func (c *Ctx) Publish(room string, r *Reply, o ...PublishOption) error {
	return c.server.SendToRoom(room, r, o...)
}

var _ context.Context = (*Ctx)(nil)

// Deadline implements context.Context: there is none.
func (c *Ctx) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the connection's end begins.
func (c *Ctx) Done() <-chan struct{} { return c.conn.Done() }

// Err is context.Canceled once Done is closed.
func (c *Ctx) Err() error {
	if c.conn.Gone() {
		return context.Canceled
	}
	return nil
}

// value is one value of a Ctx, and those before it.
type value struct {
	key, value any
	next       *value
}

// Value implements context.Context: the last value of SetValue for the key, nil without one.
func (c *Ctx) Value(key any) any {
	for v := c.values.Load(); v != nil; v = v.next {
		if v.key == key {
			return v.value
		}
	}
	return nil
}

// SetValue attaches a value to this frame's context, for what runs after a middleware or a Guard: a
// trace, or claims of the user. Keys are compared as those of context.WithValue, and should have a
// type of their own. Safe for concurrent use.
func (c *Ctx) SetValue(key, val any) {
	v := &value{key: key, value: val}
	for {
		v.next = c.values.Load()
		if c.values.CompareAndSwap(v.next, v) {
			return
		}
	}
}

// Code is the room code of the connection's token.
func (c *Ctx) Code() string { return c.Auth.Code }

// Remote is the client's address, from a trusted proxy's header where there is one.
func (c *Ctx) Remote() string { return c.conn.Remote }

// Log is the server's logger with the connection's number and the route's own name, not as the client has written it.
func (c *Ctx) Log() *zap.Logger {
	return c.server.log.With(zap.Int64("fd", c.FD), zap.String("method", c.route))
}

// Data is the client's own keys as they came, without the reserved ones.
func (c *Ctx) Data() json.RawMessage { return c.body }

// Body is Data with the trusted keys fd, auth and code set by the server (contract §3).
func (c *Ctx) Body() json.RawMessage { return trusted(c.body, c.FD, c.Auth) }

// Push sends an unasked frame to this connection. It never blocks; an error means that the connection is gone or too slow.
func (c *Ctx) Push(r *Reply) error { return push(c.conn, r) }

// Join puts this connection into a room: it gets what is published there, and leaves it when it ends. The Redis set of
// the room's name follows within moments. A client that came back and said what it saw last of the room gets what it missed first:
// that waits for one Redis call.
func (c *Ctx) Join(room string, o ...JoinOption) error {
	return c.server.sessions.Join(c, c.conn, room, joinOptions(o))
}

// Leave takes this connection out of a room, at once: it does not get what is still on its way to the room. Being in it is no condition.
func (c *Ctx) Leave(room string) { c.server.sessions.Leave(c.conn, room) }

// LeaveAll takes this connection out of all its rooms.
func (c *Ctx) LeaveAll() {
	for _, room := range c.Rooms() {
		c.Leave(room)
	}
}

// BindUID has this connection reached by a uid, whatever the type of its token. The id of a token is bound by itself where users.uid_types has its type.
func (c *Ctx) BindUID(uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return c.server.sessions.Bind(c.conn, uid)
}

// UnbindUID undoes BindUID, or the binding to the token's id.
func (c *Ctx) UnbindUID(uid string) { c.server.sessions.Unbind(c.conn, uid) }

// UIDs are the uids that this connection is reached by.
func (c *Ctx) UIDs() []string { return c.conn.Users() }

// Session is what was kept with this connection by SetSession and UpdateSession.
func (c *Ctx) Session() map[string]json.RawMessage { return session.Of(c.conn).Values() }

// SetSession replaces the values that are kept with this connection; they live as long as it does, through reloads. ErrSessionSize
// beyond 16 KiB.
func (c *Ctx) SetSession(values map[string]any) error { return c.changeOwn(values, false) }

// UpdateSession merges values into the session; nil removes a key.
func (c *Ctx) UpdateSession(values map[string]any) error { return c.changeOwn(values, true) }

func (c *Ctx) changeOwn(values map[string]any, merge bool) error {
	raw, err := session.Encode(values)
	if err != nil {
		return err
	}
	return c.server.sessions.Change(c.conn, raw, merge)
}

// Close closes this connection behind its action's reply and what is queued before that. Codes are as in Kick.
func (c *Ctx) Close(code int, reason string) error {
	if err := checkClose(&code, reason); err != nil {
		return err
	}
	c.ending.close(c.conn, code, reason)
	return nil
}

// InRoom tells whether this connection is in a room.
func (c *Ctx) InRoom(room string) bool { return c.conn.InRoom(room) }

// Rooms are the rooms this connection is in.
func (c *Ctx) Rooms() []string { return c.conn.Rooms() }

// AddCloseKey has this connection's fd removed from the Redis set key when the connection ends. Joining a room does that
// by itself; this is for sets that the application fills.
func (c *Ctx) AddCloseKey(key string) error { return c.server.sessions.AddCloseKey(c.conn, key) }

// RemoveCloseKey undoes AddCloseKey.
func (c *Ctx) RemoveCloseKey(key string) { c.server.sessions.RemoveCloseKey(c.conn, key) }

// AddCloseListener has the OnClose of a mounted controller called when this connection ends. The name is as in Mount, in
// any case.
func (c *Ctx) AddCloseListener(controller string) error {
	return c.server.sessions.AddListener(c.conn, controller)
}

// RemoveCloseListener undoes AddCloseListener.
func (c *Ctx) RemoveCloseListener(controller string) {
	c.server.sessions.RemoveListener(c.conn, controller)
}

// Closed tells a close listener which connection has ended. Nothing can be written to it any more.
type Closed struct {
	context.Context // ends with the time that close listeners have

	FD     int64
	Auth   Identity
	Code   int    // close code; 1006 where the connection ended without one
	Reason string // may be the client's own words: do not log or show it raw

	server *Server
}

// Server reaches other connections, users and rooms.
func (c *Closed) Server() *Server { return c.server }

// Publish sends a frame to every member of a room, as Server.Publish does.
func (c *Closed) Publish(room string, r *Reply, o ...PublishOption) error {
	return c.server.SendToRoom(room, r, o...)
}

// Log is the server's logger with the connection's number.
func (c *Closed) Log() *zap.Logger { return c.server.log.With(zap.Int64("fd", c.FD)) }
