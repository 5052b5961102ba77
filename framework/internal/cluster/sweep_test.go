package cluster

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// trips counts the round trips of a client.
type trips struct {
	passing
	n atomic.Int64
}

func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmd)
	}
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmds)
	}
}

// A sweep shares its round trips between many connections.
func TestSweepTrips(t *testing.T) { bubble(t, testSweepTrips) }

func testSweepTrips(t *testing.T) {
	const count = 300
	s := newStore(t)
	c := s.client(t)
	a := worker(t, c, "a")
	a.openMany(count, "R")
	a.flush()
	dead := a.fds()
	a.kill()
	h := &trips{}
	b := worker(t, s.client(t, h), "b")
	eventually(t, "all to go", func() bool {
		done, err := b.n.sweeper.sweep(t.Context(), a.n.c.self(), nil)
		return err == nil && done
	})
	once(t, dead, b)
	same(t, c)
	// Each 128 take about 10, and the marks that are written beside them.
	if n := h.n.Load(); n > count/3 {
		t.Errorf("%d round trips for %d connections", n, count)
	}
}
