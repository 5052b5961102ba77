package hub

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

// server is a Hub with a listener that accepts everybody.
type server struct {
	*Hub
	t     testing.TB
	ln    net.Listener
	quick bool // all actions run in the event loop

	mu     sync.Mutex
	on     func(c *Conn, data []byte)
	closes map[int64][]int
	ended  chan int64
}

func (s *server) Message(c *Conn, data []byte) {
	s.mu.Lock()
	on := s.on
	s.mu.Unlock()
	on(c, data)
}

func (s *server) Closed(c *Conn, code int, _ string, _ []string) {
	s.mu.Lock()
	s.closes[c.FD] = append(s.closes[c.FD], code)
	s.mu.Unlock()
	s.ended <- c.FD
}

// reader is who runs the actions of all tests: "" = goroutines behind event loops, "inline" = the
// loops, "blocking" = goroutines that wait in reads.
var reader = os.Getenv("WSFRAME_TEST_READER")

// MessageInline implements Inliner.
func (s *server) MessageInline(c *Conn, data []byte, turn Turn) (rest func()) {
	if !s.quick {
		data = bytes.Clone(data)
		return func() { s.Message(c, data) }
	}
	turn.Begin()
	s.Message(c, data)
	return nil
}

func (s *server) Overran(*Conn) {}

// wantClose waits for the end of fd and checks that Closed was called once, with that code.
func (s *server) wantClose(fd int64, code int) {
	s.t.Helper()
	s.waitFor(fmt.Sprintf("close of %d", fd), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.closes[fd]) > 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.closes[fd]; len(got) != 1 || got[0] != code {
		s.t.Fatalf("fd %d was closed with %v, want once with %d", fd, got, code)
	}
}

// waitFor retries until ok, and fails after a minute.
func (s *server) waitFor(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func echo(c *Conn, data []byte) { _ = c.Echo(data) }

func serve(t testing.TB, cfg Config) *server {
	cfg.blocking = reader == "blocking"
	s := &server{t: t, quick: reader == "inline", on: echo, closes: map[int64][]int{}, ended: make(chan int64, 100_000)}
	s.Hub = New(s, cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ln = ln
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for fd := int64(1); ; fd++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(nc))
			if err != nil {
				_ = nc.Close()
				continue
			}
			c, err := s.Accept(nc.(*net.TCPConn), nil, fd, auth.Identity{}, "127.0.0.1", "")
			if err != nil {
				panic(err)
			}
			_ = c.Serve(r, func() {}, nil)
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-accepting
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Drain(ctx, wire.CloseGoingAway, "test over", 0); err != nil {
			t.Errorf("drain: %v", err)
		}
		s.Hub.Close()
	})
	return s
}

// client is a raw WebSocket client, which can send malformed frames.
type client struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

func (s *server) dial() *client {
	s.t.Helper()
	return s.dialBy(net.Dialer{})
}

func (s *server) dialBy(d net.Dialer) *client {
	s.t.Helper()
	nc, err := d.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	c := &client{s.t, nc, bufio.NewReader(nc)}
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	c.raw([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		s.t.Fatalf("handshake: %v %v", resp, err)
	}
	return c
}

func (c *client) raw(b []byte) {
	if _, err := c.nc.Write(b); err != nil {
		c.t.Logf("write: %v", err)
	}
}

// frameBytes encodes a masked client frame.
func frameBytes(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, v := range payload {
		b = append(b, v^mask[i%4])
	}
	return b
}

func (c *client) text(s string) { c.raw(frameBytes(0x81, []byte(s))) }

// read returns the next frame's first byte and payload.
func (c *client) read() (byte, []byte, error) {
	var h [2]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(h[1] & 0x7f)
	switch n {
	case 126:
		var l [2]byte
		_, _ = io.ReadFull(c.br, l[:])
		n = uint64(binary.BigEndian.Uint16(l[:]))
	case 127:
		var l [8]byte
		_, _ = io.ReadFull(c.br, l[:])
		n = binary.BigEndian.Uint64(l[:])
	}
	p := make([]byte, n)
	_, err := io.ReadFull(c.br, p)
	return h[0], p, err
}

func (c *client) want(first byte, payload string) {
	c.t.Helper()
	got, p, err := c.read()
	if err != nil || got != first || string(p) != payload {
		c.t.Fatalf("got %#x %.80q %v, want %#x %.80q", got, p, err, first, payload)
	}
}

func (c *client) wantClose(code int) {
	c.t.Helper()
	for {
		first, p, err := c.read()
		if err != nil {
			c.t.Fatalf("no close frame: %v", err)
		}
		if first == 0x88 {
			got := wire.CloseNoStatus
			if len(p) >= 2 {
				got = int(binary.BigEndian.Uint16(p))
			}
			if got != code {
				c.t.Fatalf("closed with %d %q, want %d", got, p[2:], code)
			}
			if bytes.Contains(p, []byte("gws")) {
				c.t.Fatalf("closed with the words of another: %q", p[2:])
			}
			break
		}
	}
	if _, err := c.br.ReadByte(); err != io.EOF {
		c.t.Fatalf("after the close frame: %v, want EOF", err)
	}
}
