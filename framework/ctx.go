package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
)

// Identity is who a connection belongs to, as its token said.
type Identity = api.Identity

// Ctx is one frame's context, given to an action. It is a context.Context that is cancelled when its connection's end begins: the client
// has gone, which is seen within 2 s also while the action runs, or the connection is closed from here, by a kick or a stop. What must be
// finished all the same takes context.WithoutCancel(c). It may be kept and used by other goroutines.
type Ctx struct {
	*Sender

	FD     int64    // the connection's number, unique over all nodes and restarts
	Auth   Identity // from the token, never from the frame
	Method string   // module.controller.action in lower case, however the client has spelled it: what a Guard may decide by

	// Requested is the method as the client wrote it, for whom Method is not exact enough. Nothing may be allowed or refused by it: there
	// are many spellings of one route. It is the client's own text; do not log it raw.
	Requested string

	conn  *hub.Conn
	route string // of the action that runs
	body  []byte
	wrote []byte // body before it was HTML-escaped; nil where it was not
	leave atomic.Pointer[leave]
}

// leave is a Close that waits for its action's reply.
type leave struct {
	code   int
	reason string
}

// released stands in Ctx.leave once there is no reply to wait for.
var released = new(leave)

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

// Value implements context.Context: there are none.
func (c *Ctx) Value(any) any { return nil }

// Code is the room code of the connection's token.
func (c *Ctx) Code() string { return c.Auth.Code }

// Remote is the client's address, from a trusted proxy's header where there is one.
func (c *Ctx) Remote() string { return c.conn.Remote }

// Log is the server's logger with the connection's number and the route's own name, not as the client has written it.
func (c *Ctx) Log() *zap.Logger {
	return c.app.log.With(zap.Int64("fd", c.FD), zap.String("method", c.route))
}

// Data is the client's own keys as they came, without the reserved ones.
func (c *Ctx) Data() json.RawMessage { return c.body }

// Body is Data with the trusted keys fd, auth and code set by the server (contract §3).
func (c *Ctx) Body() json.RawMessage { return c.trusted(c.body) }

// trusted sets the server's keys in a body.
func (c *Ctx) trusted(body []byte) []byte {
	identity, _ := json.Marshal(struct { // strings: it cannot fail
		ID       string `json:"id"`
		Type     string `json:"type"`
		Code     string `json:"code"`
		Nickname string `json:"nickname"`
	}{c.Auth.ID, c.Auth.Type, c.Auth.Code, c.Auth.Nickname})
	code, _ := json.Marshal(c.Auth.Code)
	b := append(make([]byte, 0, len(body)+len(identity)+len(code)+48), `{"fd":`...)
	b = strconv.AppendInt(b, c.FD, 10)
	b = append(append(b, `,"auth":`...), identity...)
	b = append(append(b, `,"code":`...), code...)
	inner := bytes.TrimSpace(body)
	inner = bytes.TrimSpace(inner[1:]) // a JSON object: frame.Decode has checked it
	if inner[0] != '}' {
		b = append(b, ',')
	}
	return append(b, inner...)
}

// Push sends an unasked frame to this connection. It never blocks; an error means that the connection is gone or too slow.
func (c *Ctx) Push(r *Reply) error { return c.app.push(c.conn, r) }

// Join puts this connection into a room: it gets what is published there, and leaves it when it ends. The Redis set of
// the room's name follows within moments. A client that came back and said what it saw last of the room gets what it missed first:
// that waits for one Redis call.
func (c *Ctx) Join(room string, o ...JoinOption) error {
	return c.app.sessions.Join(c, c.conn, room, joinOptions(o))
}

// Leave takes this connection out of a room, at once: it does not get what is still on its way to the room. Being in it is no condition.
func (c *Ctx) Leave(room string) { c.app.sessions.Leave(c.conn, room) }

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
	return c.app.sessions.Bind(c.conn, uid)
}

// UnbindUID undoes BindUID, or the binding to the token's id.
func (c *Ctx) UnbindUID(uid string) { c.app.sessions.Unbind(c.conn, uid) }

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
	return c.app.sessions.Change(c.conn, raw, merge)
}

// Close closes this connection behind its action's reply and what is queued before that. Codes are as in Kick.
func (c *Ctx) Close(code int, reason string) error {
	if err := checkClose(&code, reason); err != nil {
		return err
	}
	if !c.leave.CompareAndSwap(nil, &leave{code, reason}) && c.leave.Load() == released {
		c.conn.Close(code, reason)
	}
	return nil
}

// done closes the connection if its action has asked for that.
func (c *Ctx) done() {
	if l := c.leave.Swap(released); l != nil {
		hub.CloseAfter([]*hub.Conn{c.conn}, l.code, l.reason)
	}
}

// InRoom tells whether this connection is in a room.
func (c *Ctx) InRoom(room string) bool { return c.conn.InRoom(room) }

// Rooms are the rooms this connection is in.
func (c *Ctx) Rooms() []string { return c.conn.Rooms() }

// AddCloseKey has this connection's fd removed from the Redis set key when the connection ends. Joining a room does that
// by itself; this is for sets that the application fills.
func (c *Ctx) AddCloseKey(key string) error { return c.app.sessions.AddCloseKey(c.conn, key) }

// RemoveCloseKey undoes AddCloseKey.
func (c *Ctx) RemoveCloseKey(key string) { c.app.sessions.RemoveCloseKey(c.conn, key) }

// AddCloseListener has the OnClose of a mounted controller called when this connection ends. The name is as in Mount, in
// any case.
func (c *Ctx) AddCloseListener(controller string) error {
	return c.app.sessions.AddListener(c.conn, controller)
}

// RemoveCloseListener undoes AddCloseListener.
func (c *Ctx) RemoveCloseListener(controller string) {
	c.app.sessions.RemoveListener(c.conn, controller)
}

// Closed tells a close listener which connection has ended. The connection itself can no longer be written to.
type Closed struct {
	context.Context // ends with the time that close listeners have
	*Sender

	FD     int64
	Auth   Identity
	Code   int    // close code; 1006 where the connection ended without one
	Reason string // may be the client's own words: do not log or show it raw
}

// Log is the server's logger with the connection's number.
func (c *Closed) Log() *zap.Logger { return c.app.log.With(zap.Int64("fd", c.FD)) }

// Sender is what actions, close listeners and the App have in common: whatever reaches others. Ctx has methods of the same names,
// without the fd, for its own connection; c.Sender is for those of others. Safe for concurrent use.
type Sender struct{ app *App }

// Members is the number of members of a room on this node. It costs nothing; RoomCount counts on all nodes.
func (s *Sender) Members(room string) int {
	return s.app.directory.Members(room)
}
