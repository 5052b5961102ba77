package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// noMemory refuses plain commands that add, while it is set, as a Redis without memory does. It
// executes all scripts, since ours begin with a write that needs no memory.
type noMemory struct {
	passing
	set atomic.Bool
}

type outOfMemory struct{}

func (outOfMemory) Error() string { return "OOM command not allowed when used memory > 'maxmemory'." }
func (outOfMemory) RedisError()   {}

func (h *noMemory) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !h.set.Load() {
			return next(ctx, cmds)
		}
		var some []redis.Cmder
		var refused error
		for _, c := range cmds {
			switch strings.ToLower(c.Name()) {
			case "sadd", "hset", "hsetnx", "set", "setnx", "zadd":
				refused = outOfMemory{}
				c.SetErr(refused)
			default:
				some = append(some, c)
			}
		}
		if len(some) > 0 {
			if err := next(ctx, some); err != nil {
				return err
			}
		}
		return refused
	}
}

// A store without memory executes removals at once and additions later, on a server and on a
// cluster.
func TestWithoutMemory(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		run(t, fmt.Sprintf("cluster %v", cluster), func(t *testing.T) {
			s, h := newStore(t), &noMemory{}
			c := s.client(t)
			of := c
			if cluster {
				of = s.cluster(t)
			}
			of.AddHook(h)
			w := worker(t, of, "a", leases, away)
			w.openMany(20, "R")
			same(t, c, w)
			old := w.fds()
			h.set.Store(true)
			kept := w.open("new", "S")
			for i, fd := range old[:10] {
				w.close(fd)
				w.join(kept, fmt.Sprint("S", i))
			}
			w.leave(old[10], "R")
			w.join(old[10], "R") // in the same batch: first what removes
			w.leave(old[11], "R")
			w.n.Presence.Leaving(coming("gone", ""), true)
			w.close(w.open("brief", "S"))
			eventually(t, "all removals", func() bool {
				return c.HLen(t.Context(), "p:WEBSOCKET_FDINFO").Val() == 10 && c.SCard(t.Context(), "p:R").Val() == 8 && c.Exists(t.Context(), w.n.c.keys.leaving()).Val() == 1
			})
			lacks := func(fd int64) func() bool {
				return func() bool { _, ok := w.n.journal.lacks()[fd]; return ok }
			}
			late := w.open("late", "S")
			eventually(t, "it to be noted as lacking", lacks(late))
			if unheard := w.n.Owners.Unheard(); len(unheard) != 1 || !unheard[late] { // others were refused one by one: a part may be there
				t.Errorf("unheard: %v, want %d", unheard, late)
			}
			if w.n.Lease.Isolated() || w.n.Stats().Unreachable {
				t.Error("a full store is taken for one that does not answer")
			}
			h.set.Store(false)
			same(t, c, w)
			h.set.Store(true)
			eventually(t, "it to be noted as lacking", lacks(w.open("last", "R")))
			w.n.Bookkeeping.Handed() // its next worker writes what is lacking
			w.flush()
		})
	}
}
