package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/auth"
	"wsframe/framework/hub"
)

// Identity is who a connection belongs to, as its token said.
type Identity = auth.Identity

// Ctx is one frame's context, given to an action. It is a context.Context that is cancelled when the connection ends.
// It may be kept and used by other goroutines.
type Ctx struct {
	*Sender

	FD     int64    // the connection's number, unique over all nodes and restarts
	Auth   Identity // from the token, never from the frame
	Method string   // as the client wrote it

	conn *hub.Conn
	body []byte
}

var _ context.Context = (*Ctx)(nil)

// Deadline implements context.Context: there is none.
func (c *Ctx) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the connection ends.
func (c *Ctx) Done() <-chan struct{} { return c.conn.Done() }

// Err is context.Canceled once the connection has ended.
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

// Log is the server's logger with the connection's number and the method.
func (c *Ctx) Log() *zap.Logger {
	return c.app.log.With(zap.Int64("fd", c.FD), zap.String("method", c.Method))
}

// Data is the client's own keys as they came, without the reserved ones.
func (c *Ctx) Data() json.RawMessage { return c.body }

// Body is Data with the trusted keys fd, auth and code set by the server (contract §3).
func (c *Ctx) Body() json.RawMessage {
	identity, _ := json.Marshal(c.Auth) // strings and a number: it cannot fail
	code, _ := json.Marshal(c.Auth.Code)
	b := append(make([]byte, 0, len(c.body)+len(identity)+len(code)+48), `{"fd":`...)
	b = strconv.AppendInt(b, c.FD, 10)
	b = append(append(b, `,"auth":`...), identity...)
	b = append(append(b, `,"code":`...), code...)
	inner := bytes.TrimSpace(c.body)
	inner = bytes.TrimSpace(inner[1:]) // a JSON object: frame.Decode has checked it
	if inner[0] != '}' {
		b = append(b, ',')
	}
	return append(b, inner...)
}

// Push sends an unasked frame to this connection. It never blocks; an error means that the connection is gone or too slow.
func (c *Ctx) Push(r *Reply) error { return c.app.push(c.conn, r) }

// Join puts this connection into a room: it gets what is published there, and leaves it when it ends. The Redis set of
// the room's name follows within moments.
func (c *Ctx) Join(room string) error { return c.app.join(c.conn, room) }

// Leave takes this connection out of a room; being in it is no condition.
func (c *Ctx) Leave(room string) { c.app.leave(c.conn, room) }

// Rooms are the rooms this connection is in.
func (c *Ctx) Rooms() []string { return c.conn.Rooms() }

// AddCloseKey has this connection's fd removed from the Redis set key when the connection ends. Joining a room does that
// by itself; this is for sets that the application fills.
func (c *Ctx) AddCloseKey(key string) error { return c.app.addCloseKey(c.conn, key) }

// RemoveCloseKey undoes AddCloseKey.
func (c *Ctx) RemoveCloseKey(key string) { c.app.removeCloseKey(c.conn, key) }

// AddCloseListener has the OnClose of a mounted controller called when this connection ends. The name is as in Mount, in
// any case.
func (c *Ctx) AddCloseListener(controller string) error {
	return c.app.addListener(c.conn, controller)
}

// RemoveCloseListener undoes AddCloseListener.
func (c *Ctx) RemoveCloseListener(controller string) { c.app.removeListener(c.conn, controller) }

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

// Sender is what actions, close listeners and the App have in common: sending to others. Safe for concurrent use.
type Sender struct{ app *App }

// SendToFD sends an unasked frame to one connection of this server.
func (s *Sender) SendToFD(fd int64, r *Reply) error {
	c := s.app.hub.Get(fd)
	if c == nil {
		return hub.ErrClosed
	}
	return s.app.push(c, r)
}

// Publish sends an unasked frame to every member of a room; it is encoded once. Members get a room's frames in one order.
// An error means that the frame could not be encoded.
func (s *Sender) Publish(room string, r *Reply) error {
	f, err := encode(r)
	if err != nil {
		return err
	}
	s.app.hub.Publish(room, f)
	s.app.syncRoom(room)
	return nil
}

// SendToAll sends an unasked frame to every connection of this server and returns how many took it.
func (s *Sender) SendToAll(r *Reply) (int, error) {
	f, err := encode(r)
	if err != nil {
		return 0, err
	}
	return s.app.hub.Broadcast(f), nil
}

// Members is the number of members of a room on this server.
func (s *Sender) Members(room string) int { return s.app.hub.Members(room) }

// Kick closes a connection after what is queued for it. It tells whether it was there. Codes are 1000 or 3000-4999.
func (s *Sender) Kick(fd int64, code int, reason string) bool {
	c := s.app.hub.Get(fd)
	if c == nil {
		return false
	}
	c.Close(code, reason)
	return true
}
