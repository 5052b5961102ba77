package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// killed ends its process within a pipeline, of which a server, or some of a cluster's masters,
// execute a part.
type killed struct {
	passing
	share func(i, of int) bool // the commands that arrive
	die   func()

	left atomic.Int64 // pipelines until then; below 0 = it is dead
}

var errKilled = errors.New("killed")

func (k *killed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if k.left.Load() < 0 {
			return errKilled
		}
		return next(ctx, cmd)
	}
}

func (k *killed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if name := cmds[0].Name(); name == "hello" || name == "client" {
			return next(ctx, cmds) // the driver's own, of a new connection
		}
		left := k.left.Add(-1)
		if left >= 0 {
			return next(ctx, cmds)
		}
		if left == -1 {
			var some []redis.Cmder
			for i, c := range cmds {
				if k.share(i, len(cmds)) {
					some = append(some, c)
				}
			}
			_ = next(ctx, some)
			k.die()
		}
		cmds[0].SetErr(errKilled)
		return errKilled
	}
}

// The next process finds all connections of a killed one, whatever part of a plan was executed.
func TestKilledInAPlan(t *testing.T) {
	client := func(t *testing.T, s *store, cluster bool) redis.UniversalClient {
		if !cluster {
			return s.client(t)
		}
		return s.cluster(t)
	}
	steps := []func(w *conns, fds []int64) []int64{
		func(w *conns, fds []int64) []int64 { return append(fds, w.open("u1", "r1"), w.open("u2", "r1")) },
		func(w *conns, fds []int64) []int64 { w.join(fds[0], "r2"); w.join(fds[1], "r3"); return fds },
		func(w *conns, fds []int64) []int64 {
			w.leave(fds[0], "r1")
			w.join(fds[0], "r1") // in the same batch
			w.leave(fds[1], "r3")
			return fds
		},
		func(w *conns, fds []int64) []int64 { w.close(fds[0]); return append(fds[1:], w.open("u1", "r1")) },
		func(w *conns, fds []int64) []int64 { w.close(fds[0]); w.close(fds[1]); return nil },
	}
	quiet := func(c *Config) { c.Orphan = nil } // it may know only a part
	for _, tc := range []struct {
		name    string
		cluster bool
		share   func(i, of int) bool
	}{
		{"cluster, even", true, func(i, _ int) bool { return i%2 == 0 }},
		{"cluster, odd", true, func(i, _ int) bool { return i%2 == 1 }},
		{"cluster, all but the first", true, func(i, _ int) bool { return i > 0 }},
		{"cluster, the first", true, func(i, _ int) bool { return i == 0 }},
		{"server, the first", false, func(i, _ int) bool { return i == 0 }},
		{"server, the first half", false, func(i, of int) bool { return i < of/2 }},
		{"server, all but the last", false, func(i, of int) bool { return i < of-1 }},
	} {
		run(t, tc.name, func(t *testing.T) {
			s := newStore(t)
			for left := 0; ; left++ {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				k := &killed{share: tc.share, die: cancel}
				k.left.Store(math.MaxInt64)
				c := client(t, s, tc.cluster)
				c.AddHook(k)
				w := worker(t, c, "a", quiet)
				k.left.Store(int64(left))
				var fds []int64
				var err error
				for _, step := range steps {
					if fds = step(w, fds); err == nil {
						err = w.n.Flush(ctx)
					}
				}
				cancel()
				w.kill()
				through := k.left.Load() >= 0
				if through && err != nil {
					t.Fatal(err)
				}
				next := worker(t, client(t, s, tc.cluster), "a", quiet)
				what := fmt.Sprintf("the next process to clean up after pipeline %d", left)
				if through {
					what = "all to be removed"
				}
				eventually(t, what, func() bool { return state(t, next.n.c.redis) == "" })
				next.kill()
				if through {
					if left < len(steps) {
						t.Errorf("no more than %d pipelines", left)
					}
					return
				}
			}
		})
	}
}
