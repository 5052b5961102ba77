//go:build unix

package hub

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

// hours is a server whose time the test controls.
type hours struct {
	*server
	mu sync.Mutex
	at time.Time
}

func serveHours(t *testing.T, cfg Config) *hours {
	s := &hours{at: time.Now()}
	cfg.ticks = make(chan time.Time)
	cfg.now = func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.at
	}
	s.server = serve(t, cfg)
	return s
}

// pass advances the time by d, without a tick.
func (s *hours) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

// tick advances the time by a second and runs housekeeping.
func (s *hours) tick() {
	s.pass(time.Second)
	s.look(s.cfg.now())
}

// wait is an action that runs until the test ends it or its connection ends. Other messages are
// recorded.
type wait struct {
	mu    sync.Mutex
	began chan *Conn
	open  chan struct{}
	heard []string
}

func newWait() *wait { return &wait{began: make(chan *Conn, 1), open: make(chan struct{})} }

func (w *wait) act(c *Conn, data []byte) {
	if string(data) == "wait" {
		w.began <- c
		select {
		case <-c.Done():
		case <-w.open:
		}
	}
	w.mu.Lock()
	w.heard = append(w.heard, string(data))
	w.mu.Unlock()
	echo(c, data)
}

func (w *wait) texts() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.heard, " ")
}

// Actions notice that their peer has gone, however it ended, and its earlier messages are still
// handled.
func TestPeerLeavesItsAction(t *testing.T) {
	more := bytes.Repeat(frameBytes(0x81, []byte("more")), 3)
	goodbye := frameBytes(0x88, []byte{0x0f, 0xa5})
	cases := []struct {
		name  string
		leave func(c *client)
		heard string
		code  int
	}{
		{"it vanishes", func(c *client) { _ = c.nc.Close() }, "wait", wire.CloseAbnormal},
		{"it vanishes after requests", func(c *client) { c.raw(more); _ = c.nc.Close() }, "wait more more more", wire.CloseAbnormal},
		{"it says goodbye and waits", func(c *client) { c.raw(goodbye) }, "wait", 4005},
		{"it says goodbye after requests", func(c *client) { c.raw(append(more, goodbye...)) }, "wait more more more", 4005},
		{"it vanishes after more than is read ahead", func(c *client) {
			c.raw(bytes.Repeat(frameBytes(0x81, bytes.Repeat([]byte("b"), 60<<10)), 2))
			_ = c.nc.Close()
		}, "wait", 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w, s := newWait(), serveHours(t, Config{})
			s.on = w.act
			c := s.dial()
			c.text("wait")
			conn := <-w.began
			tc.leave(c)
			s.waitFor("its end is seen", func() bool { s.tick(); return conn.Gone() })
			s.waitFor("the close path", func() bool { return s.Len() == 0 })
			if got := w.texts(); !strings.HasPrefix(got, tc.heard) {
				t.Errorf("%.100q was handled, not %q", got, tc.heard)
			}
			if tc.code != 0 {
				s.wantClose(conn.FD, tc.code)
			}
		})
	}
}

// A close by the server closes Done of a running action.
func TestClosedInItsAction(t *testing.T) {
	w, s := newWait(), serveHours(t, Config{})
	s.on = w.act
	c := s.dial()
	c.text("wait")
	(<-w.began).Close(4001, "out")
	c.wantClose(4001)
	s.wantClose(1, 4001)
}

// pinged counts the server's pings and answers them if answer is set.
func (c *client) pinged(answers bool, n *atomic.Int64, pongs chan<- string) {
	for {
		first, p, err := c.read()
		switch {
		case err != nil || first == 0x88:
			close(pongs)
			return
		case first == 0x89:
			if answers {
				c.raw(frameBytes(0x8a, p))
			}
			n.Add(1)
		default:
			pongs <- string(p)
		}
	}
}

// Pings and pongs go on in both directions during an action of 90 s, and a dead peer is noticed.
func TestLongAction(t *testing.T) {
	for _, alive := range []bool{true, false} {
		t.Run(fmt.Sprintf("alive %t", alive), func(t *testing.T) {
			w, s := newWait(), serveHours(t, Config{MessageRate: 10, MessageBurst: 10})
			s.on = w.act
			c := s.dial()
			c.text("wait")
			conn := <-w.began
			var pings atomic.Int64
			pongs := make(chan string, 10)
			go c.pinged(alive, &pings, pongs)
			sent, last := int64(0), conn.lastPing.Load()
			for i := range 90 {
				if s.tick(); conn.Gone() {
					if alive || i < 58 || i > 61 {
						t.Fatalf("closed after %d s", i)
					}
					break
				}
				if at := conn.lastPing.Load(); at != last {
					sent, last = sent+1, at
					s.waitFor("the ping", func() bool { return pings.Load() == sent })
				}
			}
			if !alive {
				s.wantClose(1, wire.CloseIdle)
				return
			}
			c.raw(frameBytes(0x89, []byte("there?")))
			s.waitFor("its ping is answered under the action", func() bool { s.tick(); return len(pongs) > 0 })
			if sent < 3 || len(w.began) > 0 || <-pongs != "there?" {
				t.Errorf("%d pings", sent)
			}
			close(w.open)
			if got := <-pongs; got != "wait" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Time in which the server does not read counts against no client.
func TestServersTime(t *testing.T) {
	cfg := Config{MessageRate: 10, MessageBurst: 20, MessageTime: 10 * time.Second}
	t.Run("a message that waits after an action", func(t *testing.T) {
		w, s := newWait(), serveHours(t, cfg)
		s.on = w.act
		c := s.dial()
		text := strings.Repeat("y", 20<<10) // more than one read
		c.raw(append(frameBytes(0x81, []byte("wait")), frameBytes(0x81, []byte(text))...))
		<-w.began
		for range 15 {
			s.tick()
		}
		close(w.open)
		c.want(0x81, "wait")
		c.want(0x81, text)
	})
	t.Run("messages within the rate after an action", func(t *testing.T) {
		w, s := newWait(), serveHours(t, cfg)
		s.on = w.act
		c := s.dial()
		c.text("wait")
		<-w.began
		for range 6 {
			c.raw(bytes.Repeat(frameBytes(0x81, bytes.Repeat([]byte("z"), 2<<10)), 10))
			s.tick()
		}
		close(w.open)
		c.want(0x81, "wait")
		for range 60 {
			if first, _, err := c.read(); err != nil || first != 0x81 {
				t.Fatal(first, err)
			}
		}
		// A flood beyond that is refused.
		c.raw(bytes.Repeat(frameBytes(0x81, []byte("f")), 200))
		c.wantClose(wire.ClosePolicy)
	})
	t.Run("messages within the rate after a gap", func(t *testing.T) {
		for _, tickFirst := range []bool{true, false} {
			s := serveHours(t, cfg)
			c := s.dial()
			c.text("hello")
			c.want(0x81, "hello")
			s.pass(30 * time.Second)
			if tickFirst {
				s.look(s.cfg.now())
			}
			c.raw(bytes.Repeat(frameBytes(0x81, []byte("x")), 300))
			for range 300 {
				c.want(0x81, "x")
			}
		}
	})
}

// A process that was stopped for longer than the idle time closes no live connection, and still
// notices those that are gone.
func TestGap(t *testing.T) {
	s := serveHours(t, Config{})
	c := s.dial()
	conn := s.only()
	for range 59 {
		s.tick()
	}
	for range 3 {
		s.pass(10 * time.Minute)
		s.tick()
		if conn.Gone() {
			t.Fatal("closed for the server's own gap")
		}
	}
	c.raw(frameBytes(0x8a, nil))
	s.waitFor("it is heard", func() bool { return conn.Idle() == 0 })
	n := 0
	for ; !conn.Gone(); n++ {
		s.tick()
	}
	if n < 59 || n > 62 {
		t.Errorf("closed after %d s of silence", n)
	}
	c.wantClose(wire.CloseIdle)
}

// Pings of connections that came together are spread over the interval, and each keeps its own
// interval.
func TestPingsAreSpread(t *testing.T) {
	s := serveHours(t, Config{PingInterval: 25 * time.Second, IdleTimeout: time.Hour})
	const n = 100
	var clients []*client
	for range n {
		clients = append(clients, s.dial())
	}
	s.waitFor("all", func() bool { return s.Len() == n })
	pinged := func() (count int64) {
		s.Each(func(c *Conn) bool { count += c.bytesOut.Load() / 2; return true })
		return count
	}
	before := pinged()
	for i := range 50 {
		s.tick()
		now := pinged()
		if now-before > n/25+1 {
			t.Fatalf("%d pings in second %d", now-before, i)
		}
		before = now
	}
	if before != 2*n {
		t.Errorf("%d pings in 50 s, not %d", before, 2*n)
	}
	_ = clients
}
