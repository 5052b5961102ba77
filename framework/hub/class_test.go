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

// stuffed gives a connection whose peer reads nothing and whose socket is full: what is sent from now on waits in the outbox.
func stuffed(t *testing.T, cfg Config) (*server, *client, *Conn) {
	s := serve(t, cfg)
	// Small buffers of a fixed size, and more waiting than they can ever take: the kernel takes some of it later.
	const buffer, waiting = 4 << 10, 40 << 10
	c := s.dialBy(net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		failed := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer) })
		return errors.Join(failed, err)
	}})
	conn := s.only()
	if err := conn.sock.nc.(*net.TCPConn).SetWriteBuffer(buffer); err != nil {
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
		// One of each key waits; one more of each may have been on its way already.
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

func TestExcept(t *testing.T) {
	s := serve(t, Config{})
	var clients []*client
	var conns []*Conn
	for range 3 {
		clients = append(clients, s.dial())
		s.waitFor("it is there", func() bool { return s.Len() == len(clients) })
	}
	s.Each(func(c *Conn) bool {
		conns = append(conns, c)
		if _, err := s.Join(c, "room"); err != nil {
			t.Error(err)
		}
		if _, err := s.Bind(c, "u"); err != nil {
			t.Error(err)
		}
		return true
	})
	left := conns[1].FD
	for i := range 50 { // faster than the tick: collected with others
		s.Publish("room", wire.TextFrame([]byte("all")))
		s.Publish("room", wire.TextFrame([]byte("some")).With(wire.Handling{Except: []int64{left}}))
		if i == 49 {
			s.Publish("room", wire.TextFrame([]byte("end")))
		}
	}
	for i, c := range clients {
		var all, some int
		for _, text := range c.readAll("end") {
			switch text {
			case "all":
				all++
			case "some":
				some++
			}
		}
		if all != 50 || some != 50 && int64(i+1) != left || some != 0 && int64(i+1) == left {
			t.Errorf("client %d: %d %d, %d is left out", i+1, all, some, left)
		}
	}
	if n := SendTo(s.User("u"), wire.TextFrame([]byte("x")).With(wire.Handling{Except: []int64{left}})); n != 2 {
		t.Errorf("sent to %d", n)
	}
}

func TestUsers(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	conn := s.only()
	for _, uid := range []string{"a", "b", "a"} {
		if _, err := s.Bind(conn, uid); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Unbind(conn, "b") || s.Unbind(conn, "b") || len(s.User("b")) != 0 || len(s.User("a")) != 1 || s.UserCount() != 1 {
		t.Fatal(conn.Users(), s.UserNames())
	}
	for i := range maxUsers {
		_, err := s.Bind(conn, fmt.Sprint(i))
		if i == maxUsers-1 && err != ErrTooManyUsers || i < maxUsers-1 && err != nil {
			t.Fatal(i, err)
		}
	}
	_ = c.nc.Close()
	s.waitFor("no user is left", func() bool { return s.UserCount() == 0 })
	if _, err := s.Bind(conn, "late"); err != ErrClosed {
		t.Fatal(err)
	}
}

// A member that catches up gets what it missed, then what was published meanwhile beyond that, then everything, once and in order.
func TestCatchUp(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	conn := s.only()
	push := func(i int) wire.Frame {
		return wire.TextFrame(fmt.Appendf(nil, "%d", i)).With(wire.Handling{Offset: int64(i), Epoch: "e"})
	}
	u := conn.CatchUp("room")
	if _, err := s.Join(conn, "room"); err != nil {
		t.Fatal(err)
	}
	for i := 40; i <= 60; i++ {
		s.Publish("room", push(i))
		if i == 41 {
			s.Publish("room", wire.TextFrame([]byte("plain")))
		}
	}
	s.waitFor("all is fanned out", func() bool { return conn.LiveFrom("room") == Mark{40, "e"} && s.room("room").idle() })
	var missed []wire.Frame
	for i := 10; i <= 50; i++ {
		missed = append(missed, push(i))
	}
	conn.CaughtUp(u, missed, Mark{50, "e"})
	for i := 61; i <= 80; i++ {
		s.Publish("room", push(i))
	}
	s.Publish("room", wire.TextFrame([]byte("end")))
	got := c.readAll("end")
	var want []string
	for i := 10; i <= 50; i++ {
		want = append(want, fmt.Sprint(i))
	}
	want = append(want, "plain")
	for i := 51; i <= 80; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if strings.Join(got, " ") != strings.Join(append(want, "end"), " ") {
		t.Fatalf("%q", got)
	}
}

// One catch-up of a room runs at a time; what it has kept is not lost to another one, and nothing of it is left behind.
func TestCatchUpOnce(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	conn := s.only()
	if _, err := s.Join(conn, "room"); err != nil {
		t.Fatal(err)
	}
	u := conn.CatchUp("room")
	s.Publish("room", kept(2))
	if conn.CatchUp("room") != nil {
		t.Error("a second one has begun")
	}
	conn.CaughtUp(u, []wire.Frame{kept(1)}, Mark{1, "e"})
	conn.CaughtUp(u, []wire.Frame{kept(1)}, Mark{1, "e"}) // once
	if n := conn.keeping.Load(); n != 0 {
		t.Errorf("%d keep something back", n)
	}
	// A mark outlives a catch-up that sets none: 3 and 4 it has got.
	conn.SetMark("room", Mark{4, "e"})
	u = conn.CatchUp("room")
	s.Publish("room", kept(3))
	conn.CaughtUp(u, nil, Mark{})
	s.Publish("room", kept(4))
	s.Publish("room", kept(5))
	// Who leaves takes its marks along, and what is kept for it does not come.
	conn.SetMark("room", Mark{9, "e"})
	s.Leave(conn, "room")
	if n := conn.catchingUp.Load(); n != 0 || conn.Marks() != nil {
		t.Errorf("%d marks are left: %v", n, conn.Marks())
	}
	for range 2 {
		if _, err := s.Join(conn, "room"); err != nil {
			t.Fatal(err)
		}
		u = conn.CatchUp("room")
		s.Publish("room", kept(6))
		s.Leave(conn, "room")
		conn.CaughtUp(u, []wire.Frame{kept(6)}, Mark{6, "e"})
	}
	if n, k := conn.catchingUp.Load(), conn.keeping.Load(); n != 0 || k != 0 {
		t.Errorf("%d marks, %d of them keep something back", n, k)
	}
	if _, err := s.Join(conn, "room"); err != nil {
		t.Fatal(err)
	}
	s.Publish("room", wire.TextFrame([]byte("end")))
	if got := strings.Join(c.readAll("end"), " "); got != "1 2 5 end" {
		t.Errorf("%s", got)
	}
}

func kept(i int) wire.Frame {
	return wire.TextFrame(fmt.Appendf(nil, "%d", i)).With(wire.Handling{Offset: int64(i), Epoch: "e"})
}

// What a room has missed comes before what was published since, to all members, once; who catches up meanwhile gets it once, too.
func TestHold(t *testing.T) {
	s := serve(t, Config{})
	if s.Hold("room") != nil {
		t.Error("nobody is there")
	}
	var clients []*client
	join := func() *Conn {
		clients = append(clients, s.dial())
		s.waitFor("it is there", func() bool { return s.Len() == len(clients) })
		var newest *Conn
		s.Each(func(c *Conn) bool {
			if newest == nil || c.FD > newest.FD {
				newest = c
			}
			return true
		})
		return newest
	}
	first := join()
	if _, err := s.Join(first, "room"); err != nil {
		t.Fatal(err)
	}
	if s.Hold("room") != nil {
		t.Error("no position is known")
	}
	s.Publish("room", kept(1))
	if s.Jumps("room", Mark{2, "e"}) || !s.Jumps("room", Mark{3, "e"}) || s.Jumps("room", Mark{3, "f"}) || s.Jumps("none", Mark{3, "e"}) {
		t.Error("jumps")
	}
	hold := s.Hold("room")
	if hold == nil || hold.From != (Mark{1, "e"}) || s.Hold("room") != nil || hold.First() != (Mark{}) {
		t.Fatalf("%+v", hold)
	}
	back := join() // it has got up to 3 from the history
	u := back.CatchUp("room")
	if _, err := s.Join(back, "room"); err != nil {
		t.Fatal(err)
	}
	s.Publish("room", wire.TextFrame([]byte("plain")))
	s.Publish("room", kept(4))
	s.Publish("room", kept(5))
	if hold.First() != (Mark{4, "e"}) || hold.Bytes() == 0 {
		t.Errorf("%+v", hold.First())
	}
	back.CaughtUp(u, []wire.Frame{kept(2), kept(3)}, Mark{3, "e"})
	hold.End([]wire.Frame{kept(2), kept(3), kept(4)}, Mark{4, "e"})
	hold.End([]wire.Frame{kept(2)}, Mark{})
	if m := first.Marks(); m["room"] != (Mark{}) { // 5 lay beyond it
		t.Errorf("%v", m)
	}
	// Nothing was published since: up to 7 does not come again, not even after a move.
	hold = s.Hold("room")
	hold.End([]wire.Frame{kept(6), kept(7)}, Mark{7, "e"})
	if m := first.Marks(); m["room"] != (Mark{7, "e"}) {
		t.Errorf("%v", m)
	}
	for i := 6; i <= 8; i++ {
		s.Publish("room", kept(i))
	}
	s.Publish("room", wire.TextFrame([]byte("end")))
	for i, want := range []string{"1 2 3 4 plain 5 6 7 8 end", "2 3 4 plain 5 6 7 8 end"} {
		if got := strings.Join(clients[i].readAll("end"), " "); got != want {
			t.Errorf("client %d: %s, want %s", i, got, want)
		}
	}
	// Who has come back to a quiet room knows a position.
	quiet := join()
	quiet.SetMark("quiet", Mark{3, "e"})
	if _, err := s.Join(quiet, "quiet"); err != nil {
		t.Fatal(err)
	}
	if hold = s.Hold("quiet"); hold == nil || hold.From != (Mark{3, "e"}) {
		t.Fatalf("%+v", hold)
	}
	hold.End(nil, Mark{})
}

// Positions of another epoch begin anew.
func TestLiveFrom(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	conn := s.only()
	for range 2 {
		if _, err := s.Join(conn, "room"); err != nil {
			t.Fatal(err)
		}
	}
	live := func(want Mark) {
		t.Helper()
		s.waitFor("all is written", s.room("room").idle)
		if got := conn.LiveFrom("room"); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	live(Mark{})
	s.Publish("room", kept(7))
	s.Publish("room", kept(8))
	live(Mark{7, "e"})
	s.Publish("room", wire.TextFrame([]byte("2")).With(wire.Handling{Offset: 2, Epoch: "f"}))
	live(Mark{2, "f"})
	_ = c
}

func (r *Room) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.sending
}
