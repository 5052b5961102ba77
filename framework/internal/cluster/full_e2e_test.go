//go:build e2e && unix

package cluster

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// memory lets Redis take additions, or not.
func memory(t testing.TB, c redis.UniversalClient, enough bool) {
	t.Helper()
	limit := map[bool]string{true: "0", false: "1"}[enough]
	if err := c.ConfigSet(context.WithoutCancel(t.Context()), "maxmemory", limit).Err(); err != nil {
		t.Fatal(err)
	}
}

// A full Redis takes removals: connections that end, nodes that died and users who left go at once,
// in whatever order they come with additions. The additions follow when there is memory. Nodes go
// on living.
func TestFullRedis(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a, b := worker(t, s.client(t), "a", leases, away), worker(t, s.client(t), "b", leases, away)
	a.openMany(40, "R")
	b.openMany(10, "R")
	same(t, c, a, b)
	old, dead := a.fds(), b.fds()
	came(t, a, coming("gone", "1"))
	memory(t, c, false)

	b.kill()
	kept := a.open("new", "S") // an addition before, between and behind the removals
	for _, fd := range old[:20] {
		a.close(fd)
		a.join(kept, fmt.Sprint("S", fd))
	}
	a.leave(old[20], "R")
	a.join(old[21], "S")
	brief := a.open("brief", "S")
	a.close(brief)
	a.n.Presence.Leaving(coming("gone", ""), true)
	in := func() int64 { return c.SCard(t.Context(), "p:R").Val() }
	eventually(t, "all removals to be done", func() bool { return in() == 19 })
	once(t, dead, a)
	if got := c.HLen(t.Context(), "p:WEBSOCKET_FDINFO").Val(); got != 20 {
		t.Errorf("Redis knows %d connections", got)
	}
	h := &hall{}
	eventually(t, "a leaving to be told", func() bool {
		_, _ = a.n.Presence.Depart(t.Context(), h.look, h.tell) // it is looked at again
		return len(h.got()) == 1
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.n.Flush(ctx); err == nil {
		t.Error("Redis is said to have what it has refused")
	}
	end := time.Now().Add(2 * a.n.c.lease)
	eventually(t, "more than a lease to pass", func() bool { return time.Now().After(end) })
	if mine, known := a.n.Owners.Owner(old[20]); !mine || !known || a.n.Lease.Isolated() || a.n.Stats().Unreachable {
		t.Errorf("the node is taken for dead: %v, %v, %+v", mine, known, a.n.Stats())
	}

	memory(t, c, true)
	same(t, c, a)
	if fd := c.HGet(t.Context(), "p:WEBSOCKET_UIDTOFD", "new").Val(); fd != str(kept) {
		t.Errorf("the new user is at %q, wanted %d", fd, kept)
	}
	memory(t, c, false)
	a.open("late", "R")
	a.closeAll()
	a.stop()
	if got := state(t, c); got != "" {
		t.Errorf("a node that stopped beside a full Redis left %s", got)
	}
}

// A user's newest connection has his entry, though Redis was full when it came.
func TestNewestOverFullRedis(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	w := worker(t, c, "a")
	w.open("ann", "R")
	w.flush()
	memory(t, c, false)
	w.open("ann", "R")
	last := w.open("ann", "R")
	memory(t, c, true)
	w.flush()
	if fd := c.HGet(t.Context(), "p:WEBSOCKET_UIDTOFD", "ann").Val(); fd != str(last) {
		t.Errorf("ann is at %q, wanted %d", fd, last)
	}
}

// Wherever a process is killed beside a Redis that is full now and then, the next one finds all
// that it has left.
func TestKilledBesideFullRedis(t *testing.T) {
	s := newStore(t)
	for left := 0; ; left++ {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		k := &killed{share: func(i, _ int) bool { return i == 0 }, die: cancel}
		k.left.Store(math.MaxInt64)
		c := s.client(t)
		w := worker(t, s.client(t, k), "a", func(c *Config) { c.Orphan = nil })
		memory(t, c, true)
		fds := []int64{w.open("u1", "r1"), w.open("u2", "r1"), w.open("u3", "r2")}
		w.flush()
		k.left.Store(int64(left))
		memory(t, c, false)
		fds = append(fds, w.open("u4", "r1"), w.open("u1", "r2"))
		w.join(fds[2], "r1")
		w.leave(fds[0], "r1")
		w.close(fds[1])
		w.join(fds[0], "r1")
		eventually(t, "the removals", func() bool {
			return k.left.Load() < 0 || !c.HExists(t.Context(), "p:WEBSOCKET_FDINFO", str(fds[1])).Val()
		})
		w.close(fds[3])
		memory(t, c, true)
		err := w.n.Flush(ctx)
		cancel()
		w.kill()
		through := k.left.Load() >= 0
		if through && err != nil {
			t.Fatal(err)
		}
		next := worker(t, s.client(t), "a", func(c *Config) { c.Orphan = nil })
		eventually(t, fmt.Sprintf("the next process to clean up after pipeline %d", left), func() bool { return state(t, c) == "" })
		next.kill()
		if through {
			if left < 5 {
				t.Errorf("no more than %d pipelines", left)
			}
			return
		}
	}
}
