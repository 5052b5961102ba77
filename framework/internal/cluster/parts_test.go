package cluster

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
)

// part returns a client for one part of a node.
func part(t *testing.T, id string, lease time.Duration) *client {
	t.Helper()
	c := newClient(&Config{
		Client: newStore(t).client(t), Prefix: "p:", NodeID: id, Lease: lease, Timeout: patience, Log: zap.NewNop(), Now: time.Now,
	})
	m := member{node: id}
	if lease > 0 {
		m.inc = newIncarnation()
	}
	c.place.Store(&m)
	return c
}

// known writes connections, as a process that then dies.
func known(t *testing.T, c *client, fds ...int64) {
	t.Helper()
	err := c.write(t.Context(), false, func(ctx context.Context, p *plan) {
		for _, fd := range fds {
			p.entry(ctx, &Entry{FD: fd, Auth: []byte(`{"id":"u","type":"wechatUser"}`), Keys: []string{"R"}, Listeners: []string{"live.user"}}, true)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func nothingLeft(t *testing.T, c *client) {
	t.Helper()
	for _, key := range c.redis.Keys(t.Context(), "*").Val() {
		if ttl := c.redis.PTTL(t.Context(), key).Val(); ttl < 0 {
			t.Errorf("%s stays", key)
		}
	}
}

// Numbers has another block in reserve, a larger one when they last for a short time only, and gives
// no older number after a renewal.
func TestNumbersAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := &Numbers{c: part(t, "a", 0), life: newLife(), size: 10}
		defer n.life.stop()
		first, err := n.start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for want := first; want < first+6; want++ {
			if fd, err := n.NextFD(); err != nil || fd != want {
				t.Fatalf("%d, %v, want %d", fd, err, want)
			}
		}
		eventually(t, "the next block", func() bool { return n.remaining() == 14 })
		b, err := n.reserve(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		n.renew(b, func() {
			if n.floor.Load() != b.next {
				t.Error("what belongs to others is not known yet")
			}
		})
		if fd, err := n.NextFD(); err != nil || fd != b.next {
			t.Errorf("%d, %v, want %d", fd, err, b.next)
		}
		larger := func() bool { return n.remaining() > 2*10 }
		eventually(t, "a larger block", func() bool {
			if !larger() {
				_, _ = n.NextFD() // none is left while the next block is reserved
			}
			return larger()
		})
	})
}

// A Lease is refreshed in time, is released with its node, and reports when the store answers
// again.
func TestLeaseAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := part(t, "a", time.Minute)
		back := make(chan struct{}, 1)
		l := &Lease{
			c: c, peers: &Peers{c: c}, numbers: &Numbers{c: c, size: 10}, silence: c.lease, every: 10 * time.Millisecond, where: "here",
			onChange: func() {}, onReachable: func() { back <- struct{}{} }, turn: newTurn(), kick: make(chan struct{}, 1), reachable: make(chan struct{}),
		}
		if _, err := l.start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		first := l.refreshed.Load()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.Run(ctx) }()
		eventually(t, "a refresh", func() bool { return l.refreshed.Load() != first })
		l.setReachable(false)
		l.soon()
		<-back
		cancel()
		<-done
		if err := l.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.redis.Del(t.Context(), c.keys.counter())
		nothingLeft(t, c)
	})
}

// A Sweeper runs Orphan once for each connection, and leaves no keys.
func TestSweeperAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := part(t, "a", time.Minute)
		known(t, c, 1, 2, 3)
		var told []int64
		s := &Sweeper{
			c: c, presence: &Presence{c: c}, hold: claimTime, turn: newTurn(), batch: sweepAtOnce, notified: map[string]bool{},
			orphan: func(_ context.Context, o Orphan) { told = append(told, o.FD) },
		}
		for range 2 {
			if done, err := s.sweep(t.Context(), c.self(), nil); !done || err != nil {
				t.Fatal(done, err)
			}
		}
		if slices.Sort(told); !slices.Equal(told, []int64{1, 2, 3}) {
			t.Errorf("told %v", told)
		}
		nothingLeft(t, c)
	})
}

// Leftovers has exactly the connections swept that a reload has not taken over.
func TestLeftoversAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := part(t, "a", 0)
		known(t, c, 1, 2, 3, 100)
		var told []int64
		s := &Sweeper{
			c: c, presence: &Presence{c: c}, hold: claimTime, turn: newTurn(), batch: sweepAtOnce, notified: map[string]bool{},
			orphan: func(_ context.Context, o Orphan) { told = append(told, o.FD) },
		}
		lo := &Leftovers{
			c: c, life: newLife(), sweeper: s, local: &local{numbers: &Numbers{c: c}, has: func(fd int64) bool { return fd == 2 }},
			refresh: func() {}, first: 50, adopted: map[int64]bool{},
		}
		lo.adopt(1)
		lo.adopt(100) // its own
		lo.Settle()
		eventually(t, "the one that was left behind to go", func() bool {
			return !c.redis.SIsMember(t.Context(), c.keys.fds(c.self()), 3).Val()
		})
		lo.life.stop()
		if !slices.Equal(told, []int64{3}) || !lo.settled.Load() {
			t.Errorf("told %v", told)
		}
		if left := c.redis.SCard(t.Context(), c.keys.fds(c.self())).Val(); left != 3 {
			t.Errorf("%d are left", left)
		}
	})
}

// Strays removes connections that stay unlisted for a while, and keeps those that a node lists
// again.
func TestStraysAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := part(t, "a", time.Minute)
		known(t, c, 1, 2, 3, 4)
		own := c.keys.fds(c.self())
		c.redis.SAdd(t.Context(), c.keys.nodes(), c.self().String())
		c.redis.SRem(t.Context(), own, 2, 3, 4)
		c.redis.HDel(t.Context(), c.keys.info(), "4") // whatever of it has come back
		st := &Strays{c: c, presence: &Presence{c: c}, wait: 10 * time.Second, requests: make(chan struct{}, 1)}
		time.AfterFunc(st.wait/2, func() { c.redis.SAdd(context.WithoutCancel(t.Context()), own, 2) })
		if done, err := st.remove(t.Context()); !done || err != nil {
			t.Fatal(done, err)
		}
		for fd, want := range map[string]bool{"1": true, "2": true, "3": false, "4": false} {
			for _, key := range []string{"p:R", c.keys.closing(fd), c.keys.listeners(fd)} {
				member := fd
				switch key {
				case c.keys.closing(fd):
					member = "R"
				case c.keys.listeners(fd):
					member = "live.user"
				}
				if got := c.redis.SIsMember(t.Context(), key, member).Val(); got != want {
					t.Errorf("%s of %s: %v", key, fd, got)
				}
			}
		}
	})
}
