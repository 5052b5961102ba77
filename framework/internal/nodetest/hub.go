package nodetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
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

	t   testing.TB
	dir string
}

// NewHub makes a Hub that ends with the test, and its connections with it.
func NewHub(t testing.TB, cfg hub.Config) *Hub {
	h := &Hub{t: t, dir: t.TempDir(), Ended: func(*hub.Conn, int, string, []string) {}}
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
	path := filepath.Join(h.dir, fmt.Sprint(fd, "-", time.Now().UnixNano()))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	s := &stream{File: file, path: path, ended: make(chan struct{})}
	c, err := h.Adopt(s, hub.State{FD: fd, Auth: id, Since: time.Now(), LastIn: time.Now().Unix()}, func(c *hub.Conn) error {
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

// Received gives what was written to the connection so far: the payloads of messages, and "close CODE REASON".
func (c *Conn) Received() (list []string) {
	c.t.Helper()
	b, err := os.ReadFile(c.stream.path)
	if err != nil {
		c.t.Fatal(err)
	}
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

// stream is a file to which the hub writes as to a socket. Nothing comes from it until the connection ends.
type stream struct {
	*os.File
	path string

	mu    sync.Mutex
	err   error // why reads end
	ended chan struct{}
}

func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.ended)
	}
}

func (s *stream) Read([]byte) (int, error) {
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	return 0, s.err
}

func (s *stream) SetDeadline(at time.Time) error      { return s.SetReadDeadline(at) }
func (s *stream) SetWriteDeadline(at time.Time) error { return nil }

func (s *stream) SetReadDeadline(at time.Time) error {
	if !at.IsZero() && !at.After(time.Now()) {
		s.end(os.ErrDeadlineExceeded)
	}
	return nil
}

func (s *stream) SyscallConn() (syscall.RawConn, error) {
	raw, err := s.File.SyscallConn()
	return rawFile{raw, s}, err
}

// rawFile reads as its stream does; a file itself never has a reader wait.
type rawFile struct {
	syscall.RawConn
	stream *stream
}

func (r rawFile) Read(func(uintptr) bool) error {
	_, err := r.stream.Read(nil)
	return err
}
