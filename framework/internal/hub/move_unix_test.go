//go:build unix

package hub

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

// keeper is a Mover that records its calls.
type keeper struct {
	mu     sync.Mutex
	frames []string
	x      []*wire.Handling
}

func (k *keeper) Relay(_ int64, frames []byte, _ int, x *wire.Handling, _ bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frames, k.x = append(k.frames, string(frames)), append(k.x, x)
}

func (k *keeper) RelayClose(int64, int, string) {}

// move imports the connections into another hub, as another process does. The caller begins them.
func (s *server) move(to *server) (moved []*Conn) {
	s.t.Helper()
	s.Freeze(time.Second)
	s.Each(func(c *Conn) bool {
		if c.out.away {
			return true
		}
		var state State
		s.waitFor("it can be exported", func() (ok bool) { state, ok, _ = s.Export(c, &keeper{}, nil); return ok })
		var d States
		list, err := d.Decode(state.Append(nil))
		if err != nil {
			s.t.Fatal(err)
		}
		fd, err := syscall.Dup(c.sock.fd)
		if err != nil {
			s.t.Fatal(err)
		}
		next, err := to.Import(os.NewFile(uintptr(fd), "moved"), list[0], func(*Conn) error { return nil })
		if err != nil {
			s.t.Fatal(err)
		}
		moved = append(moved, next)
		return true
	})
	left := make(chan int64, len(moved))
	if n := s.Release(func(fd int64) { left <- fd }); n != len(moved) {
		s.t.Fatalf("released %d of %d", n, len(moved))
	}
	for range moved {
		<-left
	}
	return moved
}

func begin(moved []*Conn) {
	for _, c := range moved {
		c.Begin(true)
	}
}

// Compression stays as the handshake negotiated it, whatever the new process is configured to.
func TestMoveDeflated(t *testing.T) {
	on, off := serve(t, Config{Compression: true}), serve(t, Config{})
	text := strings.Repeat("compress me ", 30)
	c, plain := on.dialDeflate(), on.dial()
	on.waitFor("both", func() bool { return on.Len() == 2 })
	half := frameBytes(0xC1, deflated([]byte(text)))
	for _, way := range [][2]*server{{on, off}, {off, on}, {on, off}} {
		c.raw(half[:5])
		way[0].waitFor("a half frame", func() (there bool) {
			way[0].Each(func(c *Conn) bool { there = there || c.messageFrom.Load() != 0; return true })
			return there
		})
		begin(way[0].move(way[1]))
		c.raw(half[5:])
		c.want(0x81, text)
	}
	begin(off.move(on))
	plain.raw(half)
	plain.wantClose(wire.CloseProtocolError)
}

// The clock of an incomplete message and the classes of waiting frames survive a move.
func TestMoveKeepsWhatItIs(t *testing.T) {
	t.Parallel()
	cfg := Config{OutboxBytes: 256 << 10, OutboxMessages: 80, WriteTimeout: time.Minute, IdleTimeout: time.Hour, MessageTime: time.Hour}
	now := time.Now()
	cfg.now = func() time.Time { return now } // else a second may pass between the two hubs
	s, c, conn := stuffed(t, cfg)
	to := serve(t, cfg)
	c.raw(frameBytes(0x81, []byte("never whole"))[:8])
	s.waitFor("a half message", func() bool { return conn.messageFrom.Load() != 0 })
	conn.messageFrom.Add(-30)
	began := conn.messageFrom.Load()
	for i := range 20 {
		_ = conn.Send(wire.TextFrame(fmt.Appendf(nil, "old %d", i)).With(wire.Handling{Class: wire.DropOldest}))
	}
	_ = conn.Send(wire.TextFrame([]byte("value 1")).With(wire.Handling{Class: wire.Latest, Key: "v"}))
	_, before := conn.Pending()
	next := s.move(to)[0]
	if from := next.messageFrom.Load(); from != began {
		t.Errorf("its message began at %d, not %d", from, began)
	}
	if _, n := next.Pending(); n != before {
		t.Errorf("%d frames wait, not %d", n, before)
	}
	if moved := next.out.chunks[len(next.out.chunks)-1]; moved.x == nil || moved.x.Class != wire.Latest {
		t.Errorf("the last one is %+v", moved.x)
	}
	next.Deliver(wire.TextFrame([]byte("value 2")).Bytes, 1, &wire.Handling{Class: wire.Latest, Key: "v"})
	for i := range 70 {
		if err := next.Send(wire.TextFrame(fmt.Appendf(nil, "control %d", i))); err != nil {
			t.Fatal(i, err)
		}
	}
	_ = next.Send(wire.TextFrame([]byte("end")))
	begin([]*Conn{next})
	got := c.readAll("end")
	control := 0
	for _, text := range got {
		if strings.HasPrefix(text, "control") {
			control++
		}
	}
	if control != 70 || slices.Contains(got, "value 1") || slices.Contains(got, "old 0") {
		t.Errorf("%d of 70: %q", control, got)
	}
}

// Frames that are sent during a move do not make a peer a slow one.
func TestMoveIsNotThePeersFault(t *testing.T) {
	cfg := Config{OutboxMessages: 20, OutboxBytes: 1 << 20}
	s, to := serve(t, cfg), serve(t, cfg)
	c := s.dial()
	conn := s.only()
	n := 0
	send := func(conn *Conn, count int) {
		t.Helper()
		for range count {
			if err := conn.Send(wire.TextFrame(fmt.Append(nil, n))); err != nil {
				t.Fatalf("%d: %v", n, err)
			}
			n++
		}
	}
	s.Freeze(time.Second)
	send(conn, 50)
	s.Thaw()
	send(conn, 20)
	c.readAll("69")
	s.waitFor("all is written", func() bool { _, frames := conn.Pending(); return frames == 0 })
	s.Freeze(time.Second)
	send(conn, 15)
	next := s.move(to)[0]
	send(next, 50)
	next.Begin(true)
	send(next, 20)
	if texts := c.readAll("154"); len(texts) != 85 {
		t.Errorf("%d of 85 came", len(texts))
	}
	to.waitFor("the limit is what it was", func() bool {
		next.mu.Lock()
		defer next.mu.Unlock()
		return next.out.limit(to.cfg.outbox()) == load{1 << 20, 20}
	})
}

// Relayed frames keep their class.
func TestRelayKeepsClass(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	conn := s.only()
	s.Freeze(time.Second)
	k := &keeper{}
	s.waitFor("it can be exported", func() bool { _, ok, _ := s.Export(conn, k, nil); return ok })
	_ = conn.Send(wire.TextFrame([]byte("v")).With(wire.Handling{Class: wire.Latest, Key: "k"}))
	_ = conn.Send(wire.TextFrame([]byte("plain")))
	if len(k.x) != 2 || k.x[0] == nil || k.x[0].Class != wire.Latest || k.x[0].Key != "k" || k.x[1].Droppable() {
		t.Errorf("%+v", k.x)
	}
	s.Thaw()
	c.want(0x81, "v")
	c.want(0x81, "plain")
}

// Failed moves neither end a slow peer earlier nor reset its limits.
func TestThawedWriter(t *testing.T) {
	t.Parallel()
	cfg := Config{WriteTimeout: time.Minute, IdleTimeout: time.Hour}
	s, c, conn := stuffed(t, cfg)
	for range 300 {
		s.Freeze(time.Second)
		s.Thaw()
	}
	if err := conn.Send(wire.TextFrame([]byte("end"))); err != nil {
		t.Fatal(err)
	}
	c.readAll("end")

	cfg.WriteTimeout = 300 * time.Millisecond
	s, _, conn = stuffed(t, cfg)
	for range 50 {
		s.Freeze(time.Second)
		s.Thaw()
	}
	s.wantClose(conn.FD, wire.CloseSlow)
}

// A connection that is closed during a freeze writes what waits, even after a writer that was
// interrupted in a write.
func TestCloseWhileFrozen(t *testing.T) {
	s, c, conn := stuffed(t, Config{WriteTimeout: time.Minute, IdleTimeout: time.Hour})
	s.Freeze(time.Second)
	_ = conn.Send(wire.TextFrame([]byte("last")))
	conn.Close(4001, "over")
	c.readAll("last")
	c.wantClose(4001)
	s.Thaw()
	s.wantClose(conn.FD, 4001)
	s.waitFor("it has been let go", func() bool { _, inside := s.Remaining(); return inside == 0 })
}
