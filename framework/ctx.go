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
// A Ctx is a context.Context that is cancelled when its connection's end begins: the client has
// gone, which is seen within 2 s also while the action runs, or the server closes the connection.
// Work that must be finished nevertheless takes context.WithoutCancel(c). A Ctx may be kept, and
// used by other goroutines.
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
	small  [64]byte // holds a short body, which then costs no allocation of its own
	wrote  []byte   // body before it was HTML-escaped; nil where it was not
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

// Deadline implements context.Context. A Ctx has no deadline.
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

// value is one value of a Ctx, and the link to older ones.
type value struct {
	key, value any
	next       *value
}

// Value implements context.Context. It returns the last value that SetValue got for the key, nil
// without one.
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

// Code returns the room code of the connection's token.
func (c *Ctx) Code() string { return c.Auth.Code }

// Remote returns the client's address, from a trusted proxy's header where there is one.
func (c *Ctx) Remote() string { return c.conn.Remote }

// ClientID returns the client_id by which PHP back ends reach this connection: 20 hexadecimal
// digits. It is "" where no gateway is configured.
func (c *Ctx) ClientID() string { return c.server.clientID(c.FD) }

// Log returns the server's logger with the connection's number and the route's own name.
func (c *Ctx) Log() *zap.Logger {
	return c.server.log.With(zap.Int64("fd", c.FD), zap.String("method", c.route))
}

// Data returns the client's own keys as they came, without the reserved ones.
func (c *Ctx) Data() json.RawMessage { return c.body }

// Body returns Data with the trusted keys fd, auth and code, which the server sets (contract §3).
func (c *Ctx) Body() json.RawMessage { return trusted(c.body, c.FD, c.Auth) }

// Push sends an unasked frame to this connection. It never blocks; an error means that the
// connection is gone or too slow.
func (c *Ctx) Push(r *Reply) error { return push(c.conn, r) }

// Join puts this connection into a room. It gets what is published there, and leaves the room when
// it ends. The Redis set of the room's name follows within moments. A client that has reconnected
// and reported its position in the room first gets the pushes that it missed, for which Join waits
// for one Redis call. With other nodes, Join also waits for two or three calls where this is the
// node's first connection in a sub-stream (cluster.substreams), at most for the time of one that
// times out. It misses nothing then, but may get pushes from before.
func (c *Ctx) Join(room string, o ...JoinOption) error {
	return c.server.sessions.Join(c, c.conn, room, joinOptions(o))
}

// Leave takes this connection out of a room, at once: pushes to the room that are still on their
// way do not reach it. A connection that is not in the room is no error.
func (c *Ctx) Leave(room string) { c.server.sessions.Leave(c.conn, room) }

// LeaveAll takes this connection out of all its rooms.
func (c *Ctx) LeaveAll() {
	for _, room := range c.Rooms() {
		c.Leave(room)
	}
}

// BindUID makes this connection reachable by a uid, whatever the type of its token. The id of a
// token is bound automatically where users.uid_types has its type.
func (c *Ctx) BindUID(uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return c.server.sessions.Bind(c.conn, uid)
}

// UnbindUID undoes BindUID, or the binding to the token's id.
func (c *Ctx) UnbindUID(uid string) { c.server.sessions.Unbind(c.conn, uid) }

// UIDs returns the uids by which this connection is reached.
func (c *Ctx) UIDs() []string { return c.conn.Users() }

// Session returns the values that SetSession and UpdateSession have kept with this connection.
func (c *Ctx) Session() map[string]json.RawMessage { return session.Of(c.conn).Values() }

// SetSession replaces the values that are kept with this connection. They live as long as it does,
// through reloads. ErrSessionSize beyond 16 KiB of JSON.
func (c *Ctx) SetSession(values map[string]any) error { return changeOwn(c, values, false) }

// UpdateSession merges values into the session; nil removes a key.
func (c *Ctx) UpdateSession(values map[string]any) error { return changeOwn(c, values, true) }

func changeOwn(c *Ctx, values map[string]any, merge bool) error {
	raw, err := session.Encode(values)
	if err != nil {
		return err
	}
	return c.server.sessions.Change(c.conn, raw, merge)
}

// Close closes this connection after its action's reply and what is queued before that. Codes are
// as in Server.Kick.
func (c *Ctx) Close(code int, reason string) error {
	if err := checkClose(&code, reason); err != nil {
		return err
	}
	c.ending.close(c.conn, code, reason)
	return nil
}

// InRoom reports whether this connection is in a room.
func (c *Ctx) InRoom(room string) bool { return c.conn.InRoom(room) }

// Rooms returns the rooms that this connection is in.
func (c *Ctx) Rooms() []string { return c.conn.Rooms() }

// AddCloseKey removes this connection's fd from the Redis set key when the connection ends. Rooms
// do not need it; it is for sets that the application fills.
func (c *Ctx) AddCloseKey(key string) error { return c.server.sessions.AddCloseKey(c.conn, key) }

// RemoveCloseKey undoes AddCloseKey.
func (c *Ctx) RemoveCloseKey(key string) { c.server.sessions.RemoveCloseKey(c.conn, key) }

// AddCloseListener calls the OnClose of a mounted controller when this connection ends. The name is
// that of Mount, in any case.
func (c *Ctx) AddCloseListener(controller string) error {
	return c.server.sessions.AddListener(c.conn, controller)
}

// RemoveCloseListener undoes AddCloseListener.
func (c *Ctx) RemoveCloseListener(controller string) {
	c.server.sessions.RemoveListener(c.conn, controller)
}

// Closed describes a connection that has ended to a close listener. Nothing can be written to the
// connection any more.
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

// Log returns the server's logger with the connection's number and the route's own name.
func (c *Closed) Log() *zap.Logger { return c.server.log.With(zap.Int64("fd", c.FD)) }
