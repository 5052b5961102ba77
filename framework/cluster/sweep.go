package cluster

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// call runs one read with the time a call has.
func call[T any](n *Node, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	return f(ctx)
}

// members reads a set in portions, so that a large one does not hold up Redis.
func (n *Node) members(ctx context.Context, key string) ([]string, error) {
	var all []string
	var cursor uint64
	for {
		type page struct {
			list []string
			next uint64
		}
		p, err := call(n, ctx, func(ctx context.Context) (page, error) {
			list, next, err := n.cfg.Client.SScan(ctx, key, cursor, "", 512).Result()
			return page{list, next}, err
		})
		if err != nil {
			return nil, fmt.Errorf("read the set %s: %w", key, err)
		}
		all = append(all, p.list...)
		if cursor = p.next; cursor == 0 {
			return all, nil
		}
	}
}

func (n *Node) ownFDs(ctx context.Context) ([]string, error) { return n.members(ctx, n.keys.own()) }

// sweep ends connections that a crashed worker left: their listeners are told, then all their keys go. Each is removed from
// the node's set last, so a sweep that is interrupted is continued at the next start, beginning with the connection at
// which it stopped.
func (n *Node) sweep(fds []string) {
	if len(fds) == 0 {
		return
	}
	begun := time.Now()
	for _, fd := range fds {
		for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			err := n.sweepOne(fd)
			if err == nil {
				break
			}
			n.cfg.Log.Warn("a dead connection cannot be cleaned up yet", zap.String("fd", fd), zap.Error(err))
			select {
			case <-time.After(pause):
			case <-n.ctx.Done():
				return
			}
		}
	}
	n.cfg.Log.Info("cleaned up after a dead worker", zap.Int("connections", len(fds)), zap.Duration("took", time.Since(begun)))
}

func (n *Node) sweepOne(fd string) error {
	k := n.keys
	number, err := strconv.ParseInt(fd, 10, 64)
	if err != nil {
		return n.exec(n.ctx, func(ctx context.Context, p redis.Pipeliner) { p.SRem(ctx, k.own(), fd) }) // not ours
	}
	var (
		auth            *redis.StringCmd
		keys, listeners *redis.StringSliceCmd
	)
	err = n.exec(n.ctx, func(ctx context.Context, p redis.Pipeliner) {
		auth = p.HGet(ctx, k.info(), fd)
		keys = p.SMembers(ctx, k.closing(fd))
		listeners = p.SMembers(ctx, k.listeners(fd))
	})
	if err != nil {
		return err
	}
	o := Orphan{FD: number, Auth: []byte(auth.Val()), Keys: keys.Val(), Listeners: listeners.Val()}
	if n.cfg.Orphan != nil && len(o.Auth) > 0 {
		n.cfg.Orphan(n.ctx, o)
	}
	return n.exec(n.ctx, func(ctx context.Context, p redis.Pipeliner) {
		o.UID = uidOf(o.Auth)
		n.remove(ctx, p, &o)
	})
}

// resync makes Redis and the live connections agree after the journal was dropped.
func (n *Node) resync() error {
	live := map[string]bool{}
	n.cfg.Live(func(e Entry) bool { live[str(e.FD)] = true; return true })
	known, err := n.ownFDs(n.ctx)
	if err != nil {
		return err
	}
	if err := n.assert(); err != nil {
		return err
	}
	if !n.settled.Load() {
		return nil
	}
	for _, fd := range known {
		if live[fd] {
			continue
		}
		if err := n.removeGhost(fd); err != nil {
			return err
		}
	}
	return nil
}

// removeGhost cleans up after a connection whose close was noted in the dropped journal: its listeners have been told.
func (n *Node) removeGhost(fd string) error {
	k := n.keys
	var auth *redis.StringCmd
	var keys, listeners *redis.StringSliceCmd
	err := n.exec(n.ctx, func(ctx context.Context, p redis.Pipeliner) {
		auth = p.HGet(ctx, k.info(), fd)
		keys = p.SMembers(ctx, k.closing(fd))
		listeners = p.SMembers(ctx, k.listeners(fd))
	})
	if err != nil {
		return err
	}
	number, err := strconv.ParseInt(fd, 10, 64)
	if err != nil {
		return nil
	}
	return n.exec(n.ctx, func(ctx context.Context, p redis.Pipeliner) {
		n.remove(ctx, p, &Entry{FD: number, UID: uidOf([]byte(auth.Val())), Keys: keys.Val(), Listeners: listeners.Val()})
	})
}

// assertLoop asserts the live connections regularly: a Redis that was emptied, or has lost its last second, heals.
func (n *Node) assertLoop() {
	tick := time.NewTicker(n.cfg.Assert)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
			if err := n.heal(); err != nil && n.ctx.Err() == nil {
				n.cfg.Log.Warn("live connections cannot be asserted in redis", zap.Error(err))
			}
		}
	}
}

// heal asserts everything again when Redis knows fewer of this node's connections than live.
func (n *Node) heal() error {
	if n.cfg.Live == nil {
		return nil
	}
	if err := n.Flush(n.ctx); err != nil {
		return err
	}
	known, err := n.ownFDs(n.ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(known))
	for _, fd := range known {
		there[fd] = true
	}
	missing := 0
	n.cfg.Live(func(e Entry) bool {
		if !there[str(e.FD)] {
			missing++
		}
		return true
	})
	if missing == 0 {
		return nil
	}
	n.cfg.Log.Warn("redis has forgotten connections; they are written again", zap.Int("missing", missing))
	if err := n.raiseCounter(); err != nil {
		return err
	}
	return n.assert()
}

// raiseCounter keeps an emptied Redis from giving the numbers of live connections anew.
func (n *Node) raiseCounter() error {
	n.fdMu.Lock()
	end := max(n.end, n.spare[1])
	n.fdMu.Unlock()
	const raise = `local v = tonumber(redis.call('GET', KEYS[1]) or '0') if v < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end return 0`
	_, err := call(n, n.ctx, func(ctx context.Context) (any, error) {
		return n.cfg.Client.Eval(ctx, raise, []string{n.keys.counter()}, str(end)).Result()
	})
	return err
}

// assert writes every live connection again. One that ended meanwhile may have been removed before it was written: it is
// removed once more.
func (n *Node) assert() error {
	var entries []Entry
	flush := func() error {
		err := n.exec(n.ctx, func(ctx context.Context, p redis.Pipeliner) {
			n.assertAll(ctx, p, entries)
		})
		for _, e := range entries {
			if !n.cfg.Alive(e.FD) {
				n.Closed(e)
			}
		}
		entries = entries[:0]
		return err
	}
	var err error
	n.cfg.Live(func(e Entry) bool {
		if entries = append(entries, e); len(entries) == batch {
			err = flush()
		}
		return err == nil
	})
	if err == nil && len(entries) > 0 {
		err = flush()
	}
	return err
}

// SyncRoom reads the members of a room's set from Redis.
func (n *Node) SyncRoom(ctx context.Context, room string) ([]int64, error) {
	list, err := n.members(ctx, n.keys.prefix+room)
	if err != nil {
		return nil, err
	}
	fds := make([]int64, 0, len(list))
	for _, s := range list {
		if fd, err := strconv.ParseInt(s, 10, 64); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// Dead tells which of the fds Redis knows no connection of, on any node.
func (n *Node) Dead(ctx context.Context, fds []int64) ([]int64, error) {
	var dead []int64
	for len(fds) > 0 {
		part := fds[:min(len(fds), 512)]
		fds = fds[len(part):]
		names := make([]string, len(part))
		for i, fd := range part {
			names[i] = str(fd)
		}
		found, err := call(n, ctx, func(ctx context.Context) ([]any, error) {
			return n.cfg.Client.HMGet(ctx, n.keys.info(), names...).Result()
		})
		if err != nil {
			return nil, fmt.Errorf("ask which connections live: %w", err)
		}
		for i, v := range found {
			if v == nil {
				dead = append(dead, part[i])
			}
		}
	}
	return dead, nil
}
