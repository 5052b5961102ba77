package bus

import (
	"fmt"
	"testing"
	"time"
)

// never is a limit that no test reaches.
const never = time.Hour

// place returns a function for After, and one that waits for its call and returns how many messages
// had been received then.
func (n *node) place() (f func(), called func() int) {
	at := make(chan int, 1)
	return func() { at <- n.count() }, func() int {
		select {
		case c := <-at:
			return c
		case <-time.After(patience):
			n.t.Error("not called")
			return -1
		}
	}
}

// After waits for everything before the cursor, in all shards, here and on another node.
func TestAfter(t *testing.T) {
	for name, change := range map[string]func(*Config){"nodes": quiet, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			c := embedded(t)
			nodes := []*node{join(t, c(), change)}
			if name == "nodes" {
				nodes = append(nodes, join(t, c(), change))
			}
			s, sent := nodes[0], 0
			if s.Cursor() != nil {
				t.Error("something is on its way before anything was sent")
			}
			for round := range 30 {
				for i := range 1 + round%8 {
					if i%2 == 0 {
						s.keep(fmt.Sprint("k", i), "x", 5, time.Hour)
					} else {
						s.send(fmt.Sprint("k", i), "x")
					}
					sent++
				}
				m := s.Cursor()
				for i, n := range nodes {
					f, called := n.place()
					n.After(s.Token(), m, never, f)
					if got := called(); got != sent {
						t.Fatalf("round %d, node %d: called behind %d of %d", round, i, got, sent)
					}
				}
			}
			// Everything has arrived: After calls at once, also on a node that joined later.
			called := 0
			s.After(s.Token(), s.Cursor(), never, func() { called++ })
			if name == "nodes" {
				late := join(t, c(), change)
				late.After(s.Token(), s.Cursor(), never, func() { called++ })
				called--
			}
			if called != 1 {
				t.Error("it waits for nothing")
			}
			if n := s.followers.waiting.Load(); n != 0 {
				t.Errorf("%d still wait", n)
			}
		})
	}
}

// After waits for a Redis that does not answer until the limit, and not at all once the bus stops
// or is detached.
func TestAfterEnds(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){"nodes": quiet, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			c := embedded(t)
			h := &lossy{}
			n := join(t, c(h), change, func(c *Config) { c.Timeout = 100 * time.Millisecond; c.PendingMessages = 3 })
			h.gate.Lock()
			n.keep("r", "a 0", 5, time.Hour)
			f, called := n.place()
			n.After(n.Token(), n.Cursor(), 20*time.Millisecond, f)
			called()
			var all []func() int
			for range 4 {
				f, called := n.place()
				n.After(n.Token(), n.Cursor(), never, f)
				all = append(all, called)
			}
			all[3]() // too many wait
			state, err := n.Suspend(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n.Resume()
			h.gate.Unlock()
			for _, called := range all[:3] {
				if got := called(); got != 1 {
					t.Errorf("called behind %d", got)
				}
			}

			h.gate.Lock()
			n.keep("r", "a 1", 5, time.Hour)
			f, called = n.place()
			n.After(n.Token(), n.Cursor(), never, func() { n.Resume(); f() }) // no lock of the bus is held
			if state, err = n.Suspend(t.Context()); err != nil {
				t.Fatal(err)
			}
			next := join(t, c(), change, from(state))
			n.send("r", "a 2")
			n.Detach()
			called()
			n.send("k", "a 0")
			token, m := n.Token(), n.Cursor()
			f, called = n.place()
			n.After(token, m, never, f)
			called()
			h.gate.Unlock()
			// The next process gets the messages of both.
			f, called = next.place()
			next.After(next.Token(), next.Cursor(), never, func() { next.After(token, m, never, f) })
			if got := called(); got != 3 {
				t.Errorf("called behind %d", got)
			}

			f, called = next.place()
			next.After("nobody", Cursor{"#1"}, never, func() { next.Resume(); f() }) // likewise
			if err := next.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			called()
			f, called = next.place()
			next.After("nobody", Cursor{"#1", "?", "5-x", "", "#7", "1-1"}, never, f)
			called()
		})
	}
}
