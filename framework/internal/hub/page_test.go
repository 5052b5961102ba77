//go:build unix

package hub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

// quoted is a Translate that counts its calls.
func quoted(calls *atomic.Int64) func(dst, payload []byte, version wire.Dialect) []byte {
	return func(dst, payload []byte, version wire.Dialect) []byte {
		calls.Add(1)
		return fmt.Appendf(dst, "v%d:%s", version, payload)
	}
}

var pageNumber atomic.Int64

// page makes a connected page without a socket.
func (s *server) page(version wire.Dialect) Polled {
	c := OpenPage(s.Hub, 1<<40+pageNumber.Add(1), auth.Identity{}, "127.0.0.1", version)
	c.Page.Set(PageConnected)
	c.Serve(func() {})
	return c
}

// taken returns what waits for a page, joined by spaces.
func taken(t *testing.T, c Polled, bytes int) string {
	t.Helper()
	packets, err := c.Take(t.Context(), bytes)
	if err != nil {
		return err.Error()
	}
	list := make([]string, len(packets))
	for i, p := range packets {
		list[i] = string(p)
	}
	return strings.Join(list, " ")
}

// What is sent to a page waits for its polls, in order and in its dialect. A close is the last
// packet.
func TestPagePolls(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	s := serve(t, Config{RoomFlush: -1, Pages: PageConfig{Translate: quoted(&calls)}})
	pages := []Polled{s.page(3), s.page(3), s.page(4)}
	for _, c := range pages {
		if _, err := c.Join("r"); err != nil {
			t.Fatal(err)
		}
	}
	s.Publish("r", wire.TextFrame([]byte("a")))
	s.SettleRooms()
	if SendTo([]*Conn{pages[0].Conn, pages[1].Conn, pages[2].Conn}, wire.TextFrame([]byte("b"))) != 3 || calls.Load() != 4 {
		t.Errorf("translated %d times", calls.Load())
	}
	for _, f := range []wire.Frame{
		wire.TextFrame([]byte("1")).With(wire.Handling{Class: wire.Latest, Key: "k"}), wire.TextFrame([]byte("2")).With(wire.Handling{Class: wire.Latest, Key: "k"}),
		{Bytes: append(wire.TextFrame([]byte("c")).Bytes, wire.TextFrame([]byte("d")).Bytes...), Count: 2},
		{Bytes: wire.Encode(append(make([]byte, wire.Headroom), "binary"...), wire.OpBinary), Count: 1},
	} {
		if err := pages[0].Send(f); err != nil {
			t.Error(err)
		}
	}
	_ = pages[0].SendText(append(make([]byte, wire.Headroom), "e"...))
	pages[0].SendAll([]wire.Frame{wire.TextFrame([]byte("f")), wire.TextFrame([]byte("g"))})
	_ = pages[0].Reply([]byte("40"))
	pages[0].Control([]byte("3"))
	for _, want := range []string{"v3:a v3:b", "v3:2 v3:c", "v3:d v3:e", "v3:f v3:g", "40 3"} {
		if got := taken(t, pages[0], 9); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if b, n := pages[0].Pending(); b != 0 || n != 0 {
		t.Errorf("%d bytes and %d frames are left", b, n)
	}
	if got := taken(t, pages[2], 1); got != "v4:a" {
		t.Errorf("%q: a packet larger than the limit comes alone", got)
	}

	// Take waits, and removes nothing if its context ends.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { _, err := pages[1].Take(ctx, 100); ended <- err }()
	if got := <-ended; got != nil { // a and b
		t.Error(got)
	}
	go func() { _, err := pages[1].Take(ctx, 100); ended <- err }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := make(chan string)
	go func() { got <- taken(t, pages[1], 100) }()
	_ = pages[1].Send(wire.TextFrame([]byte("late")))
	if p := <-got; p != "v3:late" {
		t.Error(p)
	}

	_ = pages[1].Send(wire.TextFrame([]byte("bye")))
	pages[1].Close(wire.CloseKicked, "")
	s.wantClose(pages[1].FD, wire.CloseKicked)
	if p := taken(t, pages[1], 100); p != "v3:bye 1" {
		t.Error(p)
	}
	if _, err := pages[1].Take(t.Context(), 100); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	go func() { got <- taken(t, pages[0], 100) }()
	pages[0].Close(wire.CloseNormal, "")
	if p := <-got; p != "1" {
		t.Errorf("a held poll gets %q", p)
	}
}

// A page gets nothing before it has connected the namespace.
func TestPageConnects(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	s := serve(t, Config{RoomFlush: -1, Pages: PageConfig{Translate: quoted(&calls)}})
	c := OpenPage(s.Hub, 1, auth.Identity{}, "", 4)
	c.Serve(func() {})
	s.Broadcast(wire.TextFrame([]byte("early")))
	s.SettleRooms()
	_ = c.Reply([]byte("40{}"))
	if !c.Page.Set(PageConnected) || c.Page.Set(PageConnected) || c.Page.Set(PageLoggedIn) != true || c.Page.Version() != 4 {
		t.Error("flags")
	}
	s.Broadcast(wire.TextFrame([]byte("now")))
	s.SettleRooms()
	if p := taken(t, c, 100); p != "40{} v4:now" {
		t.Error(p)
	}
}

// Messages of polls are handled in their order, and limited like frames.
func TestPageReceives(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{MessageRate: 1, MessageBurst: 3})
	var mu sync.Mutex
	var heard []string
	inside, open := make(chan struct{}), make(chan struct{})
	s.on = func(_ *Conn, data []byte) {
		switch string(data) {
		case "wait":
			inside <- struct{}{}
			<-open
		case "panic":
			panic("on purpose")
		}
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, string(data))
	}
	c := s.page(3)
	end := make(chan error)
	go func() { end <- c.Receive([][]byte{[]byte("panic"), []byte("wait"), []byte("x")}) }()
	<-inside
	if err := c.Receive([][]byte{[]byte("y")}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	close(open)
	if err := <-end; err != nil || fmt.Sprint(heard) != "[wait x]" {
		t.Error(err, heard)
	}
	if err := c.Receive([][]byte{[]byte("z"), []byte("z"), []byte("z"), []byte("z"), []byte("z")}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	s.wantClose(c.FD, wire.ClosePolicy)
	if err := c.Receive(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := c.Attach(nil, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}

	// A close during an action waits for its end.
	s.on = func(c *Conn, _ []byte) { c.Close(wire.CloseNormal, "") }
	if c = s.page(3); c.Receive([][]byte{[]byte("leave")}) != nil {
		t.Error("the last message")
	}
	s.wantClose(c.FD, wire.CloseNormal)
}

// A page that does not poll is a slow connection.
func TestPageSlow(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{OutboxMessages: 5, Pages: PageConfig{Translate: quoted(new(atomic.Int64))}})
	c := s.page(4)
	for range 5 {
		if err := c.Send(wire.TextFrame([]byte("x"))); err != nil {
			t.Error(err)
		}
	}
	if err := c.Send(wire.TextFrame([]byte("x"))); !errors.Is(err, ErrSlow) {
		t.Error(err)
	}
	s.wantClose(c.FD, wire.CloseSlow)
	if n := s.Stats().Slow; n != 1 {
		t.Error(n)
	}
}

// Pages of version 4 are pinged. A page that is silent for PingInterval and PingTimeout is closed.
func TestPageHeartbeat(t *testing.T) {
	t.Parallel()
	s := serveHours(t, Config{IdleTimeout: time.Second, Pages: PageConfig{PingInterval: 2 * time.Second, PingTimeout: 3 * time.Second}})
	three, four, alive := s.page(3), s.page(4), s.page(3)
	four.Ping() // as a second login does
	for range 7 {
		s.tick()
		alive.Touch()
	}
	s.wantClose(three.FD, wire.CloseIdle)
	s.wantClose(four.FD, wire.CloseIdle)
	if p := taken(t, three, 100); p != "1" {
		t.Error(p)
	}
	if p := taken(t, four, 100); p != "6 2 2 1" {
		t.Error(p)
	}
	if alive.Ended() {
		t.Error("a page that polls is closed")
	}
	if b, known := alive.BytesReceived(); b != 7 || !known {
		t.Error("its polls are no signs of life", b, known)
	}
}

// plug attaches a page to a socket, and returns the client's end.
func (s *server) plug(c Polled, early []byte) *client {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	socket, err := ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	_ = socket.SetDeadline(time.Unix(1, 0)) // the attached connection has none
	if err := c.Attach(socket.(*net.TCPConn), early); err != nil {
		s.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &client{t: s.t, nc: nc, br: bufio.NewReader(nc)}
}

// A socket gets what was queued first, once and in order, and then what is sent.
func TestPageAttaches(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Pages: PageConfig{Translate: quoted(new(atomic.Int64))}})
	s.on = func(c *Conn, data []byte) { _ = Polled{c}.Reply(data) }
	c := s.page(3)
	const sent = 300
	sending := make(chan struct{})
	go func() {
		for i := range sent {
			if i == sent/2 {
				close(sending)
			}
			_ = c.Send(wire.TextFrame(fmt.Appendf(nil, "%d", i)))
		}
	}()
	first := taken(t, c, 10)
	from := len(strings.Fields(first))
	held := make(chan error)
	go func() {
		for {
			packets, err := c.Take(t.Context(), 1)
			if err != nil {
				held <- err
				return
			}
			from += len(packets)
			if from > 20 {
				<-sending
				held <- nil
				return
			}
		}
	}()
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	whole := frameBytes(0x81, []byte("early"))
	client := s.plug(c, whole[:4])
	client.raw(whole[4:])
	echoed := false
	for i := from; i < sent || !echoed; {
		_, p, err := client.read()
		if err != nil {
			t.Fatal(err)
		}
		if string(p) == "early" {
			echoed = true
			continue
		}
		if string(p) != fmt.Sprintf("v3:%d", i) {
			t.Fatalf("%s, want %d", p, i)
		}
		i++
	}
	if _, err := c.Take(t.Context(), 1); !errors.Is(err, ErrAttached) {
		t.Error(err)
	}
	if err := c.Receive(nil); !errors.Is(err, ErrAttached) {
		t.Error(err)
	}
	if err := c.Attach(nil, nil); !errors.Is(err, ErrAttached) {
		t.Error(err)
	}
	client.text("2")
	client.want(0x81, "2")
	c.Close(wire.CloseKicked, "")
	client.wantClose(wire.CloseKicked)
	_ = client.nc.Close()
	s.wantClose(c.FD, wire.CloseKicked)
}

// A held poll ends when the socket comes.
func TestPageAttachEndsPoll(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	c := s.page(4)
	held := make(chan error)
	go func() { _, err := c.Take(t.Context(), 1); held <- err }()
	s.waitFor("the poll", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.Page.waits != nil })
	client := s.plug(c, nil)
	if err := <-held; !errors.Is(err, ErrAttached) {
		t.Error(err)
	}
	_ = client.nc.Close()
	s.wantClose(c.FD, wire.CloseAbnormal)
}

// A page with a socket moves with its dialect; one without ends.
func TestPageMoves(t *testing.T) {
	t.Parallel()
	cfg := Config{Pages: PageConfig{Translate: quoted(new(atomic.Int64))}}
	s, to := serve(t, cfg), serve(t, cfg)
	to.on = func(c *Conn, data []byte) { _ = Polled{c}.Reply(data) }
	with := s.page(4)
	with.Page.Set(PageLoggedIn)
	client := s.plug(with, nil)
	s.waitFor("it is served", func() bool { return with.in.watched.loop == nil || with.in.watched.turn.state.Load() == turnIdle })
	without := s.page(3)
	held := make(chan string)
	go func() { held <- taken(t, without, 1) }()
	moved := s.move(to)
	if p := <-held; p != "1" {
		t.Error(p)
	}
	s.wantClose(without.FD, wire.CloseRestart)
	begin(moved)
	client.text("2")
	client.want(0x81, "2")
	_ = moved[0].Send(wire.TextFrame([]byte("x")))
	client.want(0x81, "v4:x")
	if len(moved) != 1 || !moved[0].Page.Has(PageLoggedIn) || moved[0].Page.Version() != 4 {
		t.Error("the flags")
	}
	late := s.page(3)
	if p := taken(t, late, 1); p != "1" {
		t.Errorf("a page that comes to the old process gets %q", p)
	}
	s.wantClose(late.FD, wire.CloseRestart)
}

// Messages and a close meet, and the close path runs once.
func TestPageTurns(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{MessageRate: 1 << 30})
	s.on = func(*Conn, []byte) {}
	for range 200 {
		c := s.page(3)
		var working sync.WaitGroup
		for range 3 {
			working.Go(func() { _ = c.Receive([][]byte{[]byte("a"), []byte("b")}) })
		}
		working.Go(func() { c.Close(wire.CloseNormal, "") })
		working.Wait()
		s.wantClose(c.FD, wire.CloseNormal)
	}
}
