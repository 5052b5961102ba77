package cluster

import (
	"testing"
	"time"
)

// A node that is alone cleans up after every former process of its store, whatever its node id, and
// does not wait for claims of ended processes.
func TestTakeOver(t *testing.T) {
	for _, name := range []string{"a", "another"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newStore(t).client(t)
			old := worker(t, c, "a")
			old.openMany(3, "R")
			old.flush()
			old.kill()
			fds := old.fds()
			c.Set(t.Context(), "p:WSFRAME:{a}:SWEEP", "somebody", time.Hour)
			c.Set(t.Context(), "p:WSFRAME:{a}:CLAIM:"+str(fds[0]), "somebody", time.Hour)
			c.Set(t.Context(), "p:WSFRAME:{a}:CLAIM:"+str(fds[1]), ran, time.Hour)
			if err := TakeOver(t.Context(), c, "p:", name); err != nil {
				t.Fatal(err)
			}
			next := worker(t, c, name)
			eventually(t, "the old node's keys go", func() bool { return state(t, c) == want() })
			once(t, []int64{fds[0], fds[2]}, next)
			next.mu.Lock()
			defer next.mu.Unlock()
			if next.orphans[fds[1]] > 0 {
				t.Error("a listener is told a second time")
			}
			if err := next.n.sweeper.turn.acquire(t.Context()); err != nil { // it has ended
				t.Fatal(err)
			}
			defer next.n.sweeper.turn.release()
			if keys := c.Keys(t.Context(), "p:WSFRAME:*").Val(); len(keys) > 0 {
				t.Errorf("left: %v", keys)
			}
		})
	}
}

// Numbers are never below the time, so an emptied store, or an old copy of one, gives no number
// twice. JavaScript can represent them for decades.
func TestNumbersFollowTime(t *testing.T) {
	c := newStore(t).client(t)
	last := int64(0)
	for range 3 {
		w := worker(t, c, "a")
		fd, err := w.n.Numbers.NextFD()
		if err != nil || fd <= last || fd >= maxFD/2 {
			t.Fatalf("%d after %d, %v", fd, last, err)
		}
		last = fd
		w.stop()
		c.FlushAll(t.Context())
	}
	c.Set(t.Context(), "p:WSFRAME_FD_NEXT", maxFD/2, 0) // a clock that was set back counts for nothing
	if fd, err := worker(t, c, "a").n.Numbers.NextFD(); err != nil || fd <= maxFD/2 || fd > maxFD/2+lostJump+1 {
		t.Errorf("%d, %v", fd, err)
	}
}
