package nodetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"testing"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// Hub is a hub.Hub whose connections need no socket.
type Hub struct {
	*hub.Hub
	// Ended is called for each connection that has ended, in its goroutine. Set before the first.
	Ended func(c *hub.Conn, code int, reason string, rooms []string)

	t testing.TB
}

// NewHub makes a Hub that ends with the test, and its connections with it.
func NewHub(t testing.TB, cfg hub.Config) *Hub {
	h := &Hub{t: t, Ended: func(*hub.Conn, int, string, []string) {}}
	h.Hub = hub.New(handler{h}, cfg)
	t.Cleanup(func() {
		h.Each(func(c *hub.Conn) bool { c.Close(wire.CloseGoingAway, "test over"); return true })
		if err := h.Drain(context.Background(), wire.CloseGoingAway, "test over", 0); err != nil {
			t.Errorf("connections at the end: %v", err)
		}
		h.Close()
	})
	return h
}

// handler keeps the callbacks of a hub.Handler out of Hub's own methods.
type handler struct{ hub *Hub }

func (h handler) Message(*hub.Conn, []byte) {}

func (h handler) Closed(c *hub.Conn, code int, reason string, rooms []string) {
	h.hub.Ended(c, code, reason, rooms)
}

// Conn is a connection without a socket.
type Conn struct {
	*hub.Conn
	t      testing.TB
	stream *stream
}

// Connect adds a connection. data is its session.
func (h *Hub) Connect(fd int64, id auth.Identity, data any) *Conn {
	h.t.Helper()
	s := newStream(h.t)
	c, err := h.Import(s, hub.State{FD: fd, Auth: id, Since: time.Now(), LastIn: time.Now().Unix()}, func(c *hub.Conn) error {
		c.Data = data
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	c.Begin(true)
	return &Conn{c, h.t, s}
}

// Vanish ends the connection from its peer's side, without a close frame.
func (c *Conn) Vanish() { c.stream.end(io.EOF) }

// Received gives what was written to the connection so far: the payloads of messages, and "close
// CODE REASON".
func (c *Conn) Received() (list []string) {
	c.t.Helper()
	b := c.stream.written()
	for len(b) > 0 {
		h, ok := wire.ParseHeader(b)
		if !ok || len(b) < h.Size+int(h.Length) {
			c.t.Fatalf("no whole frame: %q", b)
		}
		payload := b[h.Size:][:h.Length]
		b = b[h.Size+int(h.Length):]
		switch {
		case h.Op == wire.OpText:
			list = append(list, string(payload))
		case h.Op == wire.OpClose:
			list = append(list, fmt.Sprintf("close %d %s", binary.BigEndian.Uint16(payload), payload[2:]))
		}
	}
	return list
}
