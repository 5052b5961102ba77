package cluster

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework/internal/backoff"
)

// Leftovers cleans up the connections of earlier processes of this node. A crash leaves them, or a
// reload that did not hand them over.
type Leftovers struct {
	c       *client
	life    *life
	sweeper *Sweeper
	local   *local
	refresh func()   // requests a refresh of the lease
	first   int64    // first number of this process
	members []member // earlier incarnations

	settled atomic.Bool // no other process of this node has connections

	mu      sync.Mutex      // a leaf
	adopted map[int64]bool  // taken over from the previous worker; nil = no reload runs
	rest    map[string]bool // leftovers in this incarnation's list that are being cleaned up
}

// findListed finds the leftovers of a node without incarnations. No other process of it lives.
func (lo *Leftovers) findListed(ctx context.Context, m member) error {
	lo.settled.Store(true)
	fds, err := lo.c.members(ctx, lo.c.keys.fds(m))
	if err != nil {
		return err
	}
	lo.rest = make(map[string]bool, len(fds))
	for _, fd := range fds {
		lo.rest[fd] = true
	}
	return nil
}

// findOlder finds earlier incarnations of this node, and declares them dead. No other process of it
// lives.
func (lo *Leftovers) findOlder(ctx context.Context) error {
	lo.settled.Store(true)
	list, err := lo.c.listMembers(ctx)
	if err != nil {
		return err
	}
	self := lo.c.self()
	for _, old := range list {
		if old.node != self.node || old == self {
			continue
		}
		lo.members = append(lo.members, old)
		err := lo.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			p.Eval(ctx, setFlag, []string{lo.c.keys.dead(old)}, "1", deadTime.Milliseconds())
			p.Del(ctx, lo.c.keys.lease(old))
		})
		if err != nil {
			return fmt.Errorf("declare the previous worker dead: %w", err)
		}
	}
	return nil
}

// Run has the leftovers cleaned up that the start has found.
func (lo *Leftovers) Run(ctx context.Context) {
	lo.mu.Lock()
	rest := lo.rest
	lo.mu.Unlock()
	lo.sweepRest(lo.c.self(), rest)
	for _, m := range lo.members {
		lo.sweeper.untilDone(ctx, m, nil)
	}
	lo.members = nil
}

// adopt notes a connection that this worker has taken over from the previous one.
func (lo *Leftovers) adopt(fd int64) {
	if lo.settled.Load() {
		return
	}
	lo.mu.Lock()
	if lo.adopted != nil && fd < lo.first {
		lo.adopted[fd] = true
	}
	lo.mu.Unlock()
}

// Settle notes that the previous worker of a reload has ended. Its connections that were neither
// taken over nor are live here are cleaned up now.
func (lo *Leftovers) Settle() {
	lo.mu.Lock()
	adopted := lo.adopted
	lo.adopted = nil
	lo.mu.Unlock()
	if adopted == nil {
		return
	}
	lo.life.Go(func() { lo.settle(adopted) })
	lo.refresh() // the previous worker may have ended the lease
}

func (lo *Leftovers) settle(adopted map[int64]bool) {
	tries := backoff.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for {
		rest, err := lo.leftBehind(adopted)
		if err == nil {
			lo.mu.Lock()
			lo.rest = rest
			lo.settled.Store(true)
			lo.mu.Unlock()
			lo.sweepRest(lo.c.self(), rest)
			return
		}
		if !tries.Wait(lo.life.ctx.Done()) {
			return
		}
	}
}

func (lo *Leftovers) sweepRest(m member, rest map[string]bool) {
	if len(rest) == 0 {
		return
	}
	lo.sweeper.untilDone(lo.life.ctx, m, maps.Clone(rest))
	lo.mu.Lock()
	lo.rest = nil
	lo.mu.Unlock()
}

func (lo *Leftovers) leftBehind(adopted map[int64]bool) (map[string]bool, error) {
	known, err := lo.c.members(lo.life.ctx, lo.c.keys.fds(lo.c.self()))
	if err != nil {
		return nil, err
	}
	rest := map[string]bool{}
	for _, name := range known {
		if fd, err := strconv.ParseInt(name, 10, 64); err == nil && fd < lo.first && !adopted[fd] && !lo.local.alive(fd) {
			rest[name] = true
		}
	}
	return rest, nil
}

// has reports whether a connection is a leftover whose clean-up has not finished.
func (lo *Leftovers) has(fd int64) bool {
	lo.mu.Lock()
	defer lo.mu.Unlock()
	return lo.rest[str(fd)]
}
