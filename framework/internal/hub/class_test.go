//go:build unix

package hub

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

// stuffed returns a connection whose peer reads nothing and whose socket is full, so that sent
// frames wait in the outbox.
func stuffed(t *testing.T, cfg Config) (*server, *client, *Conn) {
	s := serve(t, cfg)
	// Buffers of a fixed, small size, and more bytes than these can hold, since the kernel accepts
	// some later.
	const buffer, waiting = 4 << 10, 40 << 10
	c := s.dialBy(net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		failed := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer) })
		return errors.Join(failed, err)
	}})
	conn := s.only()
	conn.mu.Lock()
	err := syscall.SetsockoptInt(conn.sock.fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, buffer)
	conn.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	filler := wire.TextFrame(bytes.Repeat([]byte("x"), 32<<10))
	s.waitFor("a full socket", func() bool {
		n, _ := conn.Pending()
		if n <= waiting {
			_ = conn.Send(filler)
		}
		return n > waiting
	})
	return s, c, conn
}

func (s *server) only() *Conn {
	var one *Conn
	s.waitFor("a connection", func() bool {
		s.Each(func(c *Conn) bool { one = c; return false })
		return one != nil
	})
	return one
}

// readAll reads frames until one has the payload last.
func (c *client) readAll(last string) (texts []string) {
	for {
		_, b, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if !strings.HasPrefix(string(b), "xxx") {
			texts = append(texts, string(b))
		}
		if string(b) == last {
			return texts
		}
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	cfg := Config{OutboxBytes: 256 << 10, OutboxMessages: 100, WriteTimeout: time.Minute, IdleTimeout: time.Hour}
	t.Run("latest", func(t *testing.T) {
		_, c, conn := stuffed(t, cfg)
		for i := range 1000 {
			for _, key := range []string{"a", "b"} {
				if err := conn.Send(wire.TextFrame(fmt.Appendf(nil, "%s%d", key, i)).With(wire.Handling{Class: wire.Latest, Key: key})); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = conn.Send(wire.TextFrame([]byte("end")))
		got := c.readAll("end")
		// One frame of each key waits; another of each may have been written before.
		if n := len(got); n < 3 || n > 8 || !slices.Contains(got[n-3:], "a999") || !slices.Contains(got[n-3:], "b999") {
			t.Fatalf("%q", got)
		}
	})
	t.Run("drop-oldest", func(t *testing.T) {
		s, c, conn := stuffed(t, cfg)
		for i := range 1000 {
			if err := conn.Send(wire.TextFrame(fmt.Appendf(nil, "%d", i)).With(wire.Handling{Class: wire.DropOldest})); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Send(wire.TextFrame([]byte("end"))); err != nil {
			t.Fatal(err)
		}
		got := c.readAll("end")
		n := len(got)
		if n < 2 || n > 150 || got[n-2] != "999" {
			t.Fatalf("%d: %q", n, got)
		}
		if dropped := s.Stats().Dropped; int(dropped)+n-1 != 1000 {
			t.Fatalf("%d dropped, %d arrived", dropped, n-1)
		}
	})
	t.Run("control makes barrage give way", func(t *testing.T) {
		_, c, conn := stuffed(t, cfg)
		for range 20 {
			_ = conn.Send(wire.TextFrame([]byte("barrage")).With(wire.Handling{Class: wire.DropOldest}))
		}
		for i := range 70 {
			if err := conn.Send(wire.TextFrame(fmt.Appendf(nil, "control %d", i))); err != nil {
				t.Fatal(i, err)
			}
		}
		_ = conn.Send(wire.TextFrame([]byte("end")))
		var control int
		for _, text := range c.readAll("end") {
			if strings.HasPrefix(text, "control") {
				control++
			}
		}
		if control != 70 {
			t.Fatalf("%d of 70", control)
		}
	})
	t.Run("never-drop closes", func(t *testing.T) {
		s, _, conn := stuffed(t, cfg)
		var err error
		for range 200 {
			if err = conn.Send(wire.TextFrame([]byte("control"))); err != nil {
				break
			}
		}
		if err != ErrSlow {
			t.Fatalf("%v", err)
		}
		s.wantClose(conn.FD, wire.CloseSlow)
	})
}

func TestSendTo(t *testing.T) {
	s := serve(t, Config{})
	var clients []*client
	for range 3 {
		clients = append(clients, s.dial())
		s.waitFor("it is there", func() bool { return s.Len() == len(clients) })
	}
	s.Each(func(c *Conn) bool { _, err := c.Bind("u"); return err == nil })
	left := s.User("u")[1].FD
	if n := SendTo(s.User("u"), wire.TextFrame([]byte("x")).With(wire.Handling{Except: []int64{left}})); n != 2 {
		t.Errorf("sent to %d", n)
	}
	if n := SendTo(s.User("nobody"), wire.TextFrame([]byte("x"))); n != 0 {
		t.Errorf("sent to %d", n)
	}
}

func TestUsers(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	conn := s.only()
	for _, uid := range []string{"a", "b", "a"} {
		if _, err := conn.Bind(uid); err != nil {
			t.Fatal(err)
		}
	}
	if !conn.Unbind("b") || conn.Unbind("b") || len(s.User("b")) != 0 || len(s.User("a")) != 1 || s.UserCount() != 1 {
		t.Fatal(conn.Users(), s.UserNames())
	}
	for i := range maxUsers {
		_, err := conn.Bind(fmt.Sprint(i))
		if i == maxUsers-1 && err != ErrTooManyUsers || i < maxUsers-1 && err != nil {
			t.Fatal(i, err)
		}
	}
	_ = c.nc.Close()
	s.waitFor("no user is left", func() bool { return s.UserCount() == 0 })
	if _, err := conn.Bind("late"); err != ErrClosed {
		t.Fatal(err)
	}
}
