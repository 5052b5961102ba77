package hub

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/eventloop"
)

// Each visit comes in its second, the earliest that was asked for, and once.
func TestWheel(t *testing.T) {
	var w wheel
	w.init(1000)
	due := make([]atomic.Int64, 6)
	for fd, second := range []int64{1003, 1001, 0, 1003, 1000 + 3*wheelSize} {
		w.schedule(int64(fd), &due[fd], second)
	}
	w.schedule(3, &due[3], 1002) // earlier
	w.schedule(3, &due[3], 1004) // later: has no effect
	visits := map[int64][]int64{}
	run := func(now int64) {
		for {
			second, fds, ok := w.take(now)
			if !ok {
				return
			}
			for _, fd := range fds {
				if w.visit(&due[fd], second) {
					visits[fd] = append(visits[fd], second)
				}
			}
		}
	}
	run(1002)
	w.schedule(5, &due[5], 1001) // it has passed
	run(1002)
	run(1003 + 2*wheelSize)
	for fd, want := range [][]int64{{1003}, {1001}, {1001}, {1002}, {1000 + wheelSize - 1}, {1003}} {
		if got := visits[int64(fd)]; !slices.Equal(got, want) {
			t.Errorf("%d is visited at %d, want %d", fd, got, want)
		}
	}
}

// What housekeeping costs a second, with 100,000 connections that answer pings.
func BenchmarkHousekeeping(b *testing.B) {
	ticks := make(chan time.Time)
	h := New(&server{}, Config{ticks: ticks})
	defer h.Close()
	const n = 100_000
	watched := new(eventloop.Loop[Conn])
	for fd := range int64(n) {
		c := &Conn{Auth: auth.Identity{}, hub: h} // opening: pings are not written
		c.init(fd)
		c.in.watched.loop = watched
		c.lastIn.Store(h.clock.seconds.Load())
		c.lastPing.Store(h.clock.seconds.Load() - fd%h.pingSeconds())
		h.add(c)
	}
	now := time.Now()
	for b.Loop() {
		now = now.Add(time.Second)
		seconds := h.clock.seconds.Load()
		h.look(now)
		if h.Len() != n {
			b.Fatal(h.Len())
		}
		b.StopTimer()
		h.Each(func(c *Conn) bool { // the pongs
			c.lastIn.Store(seconds)
			return true
		})
		b.StartTimer()
	}
}
