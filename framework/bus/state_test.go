package bus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// A sender moves from process to process under load; the old process still sends some messages.
func TestHandOver(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){"nodes": quiet, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			c := embedded(t)
			testHandOver(t, func() *node { return join(t, c(), change) }, func(state []byte) *node { return join(t, c(), change, from(state)) })
		})
	}
}

func testHandOver(t *testing.T, first func() *node, next func([]byte) *node) {
	const each, generations = 300, 4
	now := first()
	all := []*node{now}
	var mu sync.Mutex // under it now is replaced
	stop := make(chan struct{})
	var wg sync.WaitGroup
	sent := 0
	wg.Go(func() {
		for ; ; sent++ {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock()
			now.keep("r", fmt.Sprintf("x %d", sent), 100, time.Hour)
			full := now.Stats().Pending > 100
			mu.Unlock()
			if full {
				time.Sleep(2 * time.Millisecond) // a rate, not a wait
			}
		}
	})
	for g := range generations {
		old := now
		eventually(t, "some to come", func() bool { return old.count() > each })
		mu.Lock()
		state, err := old.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := old.count()
		old.send("r", fmt.Sprintf("late%d 0", g)) // waits
		if g == 1 {                               // the first attempt fails
			old.Resume()
			if state, err = old.Suspend(t.Context()); err != nil {
				t.Fatal(err)
			}
			before = old.count()
		}
		n := next(state)
		if n.Token() != old.Token() {
			t.Error("another token")
		}
		old.Detach()
		old.send("r", fmt.Sprintf("later%d 0", g))
		if n.Token() == old.Token() {
			t.Error("the same token")
		}
		now = n
		all = append(all, n)
		mu.Unlock()
		eventually(t, "the old process to have written", func() bool { return old.Stats().Pending == 0 })
		if err := old.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if got := old.count(); got != before {
			t.Errorf("%d were received by the old process", got-before)
		}
	}
	close(stop)
	wg.Wait()
	var got []Message
	eventually(t, "all to come", func() bool {
		got = nil
		for _, n := range all {
			got = append(got, n.got()...)
		}
		return len(got) >= sent+2*generations
	})
	next1, late := 0, map[string]int{}
	var offset int64
	for _, m := range got {
		var name string
		var number int
		if _, err := fmt.Sscanf(string(m.Body), "%s %d", &name, &number); err != nil {
			t.Fatal(err)
		}
		if name != "x" {
			late[name]++
			continue
		}
		if number != next1 || m.Offset != offset+1 {
			t.Fatalf("%d at offset %d, expected %d at %d", number, m.Offset, next1, offset+1)
		}
		next1, offset = next1+1, m.Offset
	}
	if next1 != sent {
		t.Errorf("%d of %d", next1, sent)
	}
	for g := range generations {
		if late[fmt.Sprintf("later%d", g)] != 1 || late[fmt.Sprintf("late%d", g)] != 1 {
			t.Errorf("what the old processes said came: %v", late)
		}
	}
}

// Suspend returns while Redis does not answer, and nothing that the abandoned call wrote is written
// twice.
func TestSuspendWithSlowRedis(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){"nodes": quiet, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			c := embedded(t)
			h := &lossy{}
			old := join(t, c(h), change, func(c *Config) { c.Timeout = 100 * time.Millisecond })
			old.keep("r", "a 0", 100, time.Hour)
			eventually(t, "the first", func() bool { return old.count() == 1 })
			h.gate.Lock()
			for i := range 20 {
				old.keep("r", fmt.Sprintf("a %d", i+1), 100, time.Hour)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // far beyond: this machine may be slow
			defer cancel()
			state, err := old.Suspend(ctx)
			if err != nil {
				t.Fatal(err)
			}
			n := join(t, c(), change, from(state))
			h.gate.Unlock() // the abandoned calls run now, beside the new process's
			old.Detach()
			eventually(t, "all to come", func() bool { return old.count()+n.count() >= 21 && n.Stats().Pending == 0 })
			n.send("r", "a 21")
			eventually(t, "the last", func() bool { return old.count()+n.count() >= 22 })
			next := 0
			for _, m := range append(old.got(), n.got()...) {
				if string(m.Body) != fmt.Sprintf("a %d", next) || next < 21 && m.Offset != int64(next+1) {
					t.Fatalf("%s at offset %d instead of %d", m.Body, m.Offset, next)
				}
				next++
			}
		})
	}
}

// A receiver that hangs makes Suspend fail, and everything continues.
func TestSuspendFails(t *testing.T) {
	c := embedded(t)
	hold := make(chan struct{})
	var n *node
	n = join(t, c(), alone, func(cfg *Config) {
		cfg.Receive = func(m *Message) {
			if string(m.Body) == "a 0" {
				<-hold
			}
			n.receive(m)
		}
	})
	n.send("r", "a 0")
	eventually(t, "it to be received", func() bool { return n.Stats().Received == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := n.Suspend(ctx); err == nil {
		t.Error("suspended")
	}
	n.send("r", "a 1")
	close(hold)
	eventually(t, "both", func() bool { return n.count() == 2 })
	n.inOrder(2)
	n.Resume() // of nothing
	n.Detach()
	n.send("r", "a 2")
	eventually(t, "the third", func() bool { return n.count() == 3 })
}

// The next process is another sender where it has another store.
func TestStateForAnotherStore(t *testing.T) {
	a, b := embedded(t), embedded(t)
	h := &lossy{}
	old := join(t, a(h), alone, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	h.gate.Lock()
	old.keep("r", "a 0", 10, time.Hour)
	old.send("r", "a 1")
	state, err := old.Suspend(t.Context())
	h.gate.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	n := join(t, b(), from(state))
	old.Detach()
	if n.Token() == old.Token() {
		t.Error("the same token")
	}
	eventually(t, "both", func() bool { return n.count() == 2 })
	n.inOrder(2)
}

// A next process that is stopped before it runs leaves the old one everything.
func TestNextProcessFails(t *testing.T) {
	c := embedded(t)
	client := c()
	old := join(t, client, quiet)
	for i := range 20 {
		old.keep("r", fmt.Sprintf("a %d", i), 100, time.Hour)
	}
	eventually(t, "all", func() bool { return old.count() == 20 && old.Stats().Pending == 0 })
	state, err := old.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, err := Start(t.Context(), Config{Client: c(), Prefix: "p:", Receive: func(*Message) {}, State: state})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if client.Exists(t.Context(), old.shard("r").written(old.Token())).Val() != 1 {
		t.Error("the sender's record is gone")
	}
	old.Resume()
	old.keep("r", "a 20", 100, time.Hour)
	eventually(t, "the next", func() bool { return old.count() == 21 })
	old.inOrder(21)
	if m := old.got()[20]; m.Offset != 21 {
		t.Errorf("%+v", m)
	}
	record := old.shard("r").written(old.Token())
	if err := old.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if client.Exists(t.Context(), record).Val() != 0 {
		t.Error("the sender's record is left")
	}
}
