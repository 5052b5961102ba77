package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// pipeline is how many commands leave together: enough to make a round trip cheap, few enough for Timeout.
const pipeline = 512

// doubtTime is how many timeouts after a failed pipeline its commands are taken to have been executed or lost. A server
// that answers again has them behind it at once; a proxy may hold them longer.
const doubtTime = 4

// releaseUID removes a user's entry only while it still points to this connection: a second device may have come since.
const releaseUID = `if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end return 0`

func (n *Node) write(ctx context.Context, p redis.Pipeliner, o *op) {
	fd, k := str(o.fd), n.keys
	if o.fd < n.floor.Load() && o.kind != opStale {
		return
	}
	switch o.kind {
	case opKeyAdded, opCloseKeyAdded, opListenerAdded:
		// It may have ended before this was noted, and nothing would remove it then. If it ends from here on, its
		// Closed is noted later.
		if n.cfg.Alive != nil && !n.cfg.Alive(o.fd) {
			return
		}
	}
	switch o.kind {
	case opOpened:
		n.writeEntry(ctx, p, o.entry, true)
	case opClosed:
		n.removeEntry(ctx, p, o.entry)
	case opKeyAdded:
		p.SAdd(ctx, k.closing(fd), o.key) // first: a crash in between leaves nothing behind
		p.SAdd(ctx, k.prefix+o.key, fd)
	case opKeyRemoved:
		p.SRem(ctx, k.prefix+o.key, fd)
		p.SRem(ctx, k.closing(fd), o.key)
	case opCloseKeyAdded:
		p.SAdd(ctx, k.closing(fd), o.key)
	case opCloseKeyRemoved:
		p.SRem(ctx, k.closing(fd), o.key)
	case opListenerAdded:
		p.SAdd(ctx, k.listeners(fd), o.key)
	case opListenerRemoved:
		p.SRem(ctx, k.listeners(fd), o.key)
	case opStale:
		p.SRem(ctx, k.prefix+o.key, fd)
	}
}

// writeEntry asserts a live connection: the node's list first, by which it is found, then its bookkeeping and its
// place in the sets it is in.
func (n *Node) writeEntry(ctx context.Context, p redis.Pipeliner, e *Entry, fresh bool) {
	fd, k := str(e.FD), n.keys
	p.SAdd(ctx, k.fds(n.self()), fd)
	p.HSet(ctx, k.info(), fd, e.Auth)
	if e.UID != "" && fresh {
		p.HSet(ctx, k.uids(), e.UID, fd)
	} else if e.UID != "" {
		p.HSetNX(ctx, k.uids(), e.UID, fd) // a newer connection of the user's may have it
	}
	if len(e.Listeners) > 0 {
		p.SAdd(ctx, k.listeners(fd), e.Listeners)
	}
	if len(e.Keys) > 0 {
		p.SAdd(ctx, k.closing(fd), e.Keys)
	}
	for _, key := range e.Keys {
		p.SAdd(ctx, k.prefix+key, fd)
	}
}

// removeEntry takes a connection out of its sets, then removes its bookkeeping, the node's list last.
func (n *Node) removeEntry(ctx context.Context, p redis.Pipeliner, e *Entry) {
	n.removeTraces(ctx, p, e)
	p.SRem(ctx, n.keys.fds(n.self()), str(e.FD))
}

func (n *Node) removeTraces(ctx context.Context, p redis.Pipeliner, e *Entry) {
	fd, k := str(e.FD), n.keys
	for _, key := range e.Keys {
		p.SRem(ctx, k.prefix+key, fd)
	}
	p.Del(ctx, k.closing(fd))
	p.Del(ctx, k.listeners(fd))
	if e.UID != "" {
		p.Eval(ctx, releaseUID, []string{k.uids()}, e.UID, fd)
	}
	p.HDel(ctx, k.info(), fd)
}

// call runs one command with the time a call has.
func call[T any](n *Node, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	return f(ctx)
}

// exec runs a pipeline. Only an error that a repetition may cure is returned; what Redis refused for good is logged.
func (n *Node) exec(ctx context.Context, fill func(context.Context, redis.Pipeliner)) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	cmds, err := n.cfg.Client.Pipelined(ctx, func(p redis.Pipeliner) error { fill(ctx, p); return nil })
	if err == nil {
		return nil
	}
	if len(cmds) == 0 {
		return err
	}
	for _, c := range cmds {
		switch e := c.Err(); {
		case e == nil, errors.Is(e, redis.Nil):
		case final(e):
			n.refused(c, e)
		default:
			return e
		}
	}
	return nil
}

// final tells whether Redis answered that it will never take the command. Everything else passes: it loads its data, is
// out of memory, has no master, no quorum, too many clients.
func final(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := err.Error()
	return strings.HasPrefix(text, "WRONGTYPE") || strings.HasPrefix(text, "NOPERM") ||
		strings.HasPrefix(text, "ERR ") && !strings.Contains(text, "max number of clients")
}

func (n *Node) refused(c redis.Cmder, err error) {
	n.fdMu.Lock()
	defer n.fdMu.Unlock()
	if now := n.cfg.Now(); now.Sub(n.complainedOf) > time.Second {
		n.complainedOf = now
		n.cfg.Log.Error("redis refuses a bookkeeping command", zap.String("command", c.FullName()), zap.Error(err))
	}
}

// drain writes the journal until the node stops, and does whatever else must not happen beside that. What Redis does not
// take is repeated, with growing pauses.
func (n *Node) drain() {
	var pause time.Duration
	assert := time.NewTimer(rand.N(n.cfg.Assert)) // many nodes started at once do not assert at once
	defer assert.Stop()
	due := false
	for {
		select {
		case <-assert.C:
			due = true
			assert.Reset(n.cfg.Assert)
		default:
		}
		idle, err := n.step(&due)
		switch {
		case n.ctx.Err() != nil:
			return
		case err != nil:
			if pause == 0 {
				n.cfg.Log.Warn("redis does not take the bookkeeping; it is kept and repeated", zap.Error(err))
			}
			n.shaken, n.doubtAt = true, n.cfg.Now()
			pause = min(max(2*pause, 20*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-n.ctx.Done():
				return
			}
			continue
		case pause > 0:
			n.cfg.Log.Info("redis takes the bookkeeping again")
			pause = 0
		}
		if !idle {
			continue
		}
		var doubtful <-chan time.Time
		if len(n.doubts) > 0 {
			doubtful = time.After(doubtTime * n.cfg.Timeout)
		}
		select {
		case <-doubtful:
		case <-n.j.wake:
		case <-assert.C:
			due = true
			assert.Reset(n.cfg.Assert)
		case <-n.ctx.Done():
			return
		}
	}
}

// step does the next thing there is to do. idle = there was nothing.
func (n *Node) step(due *bool) (idle bool, err error) {
	ctx := n.ctx
	if n.lost.Load() {
		return false, n.renounce(ctx)
	}
	ops, dropped := n.j.take(n.batch)
	overflow, answers := n.j.overflowed()
	doubtful := len(n.doubts) > 0 && n.cfg.Now().Sub(n.doubtAt) > doubtTime*n.cfg.Timeout
	if len(ops) == 0 && !overflow && !n.forgotten.Load() && !*due && !doubtful {
		return true, nil
	}
	// Nothing is written by a node that may have been declared dead meanwhile: others clean up after it.
	if n.leased() && !n.leaseHolds() {
		if err := n.refresh(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case n.lost.Load():
		return false, nil
	case overflow:
		if err := n.resync(ctx); err != nil {
			return false, err
		}
		n.j.resynced(answers)
	case n.forgotten.Load():
		n.forgotten.Store(false)
		n.cfg.Log.Warn("redis was emptied; the live connections are written again")
		if err = n.rewrite(ctx); err != nil {
			n.forgotten.Store(true)
		}
		return false, err
	case doubtful:
		return false, n.settleDoubts(ctx)
	case *due:
		*due = false
		if err := n.heal(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Log.Warn("live connections cannot be asserted in redis", zap.Error(err)) // again next time
		}
	default:
		err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for i := range ops {
				n.write(ctx, p, &ops[i])
			}
		})
		if err != nil {
			n.doubtOps(ops)
			n.batch = max(n.batch/2, pipeline/32) // so that it is taken at last by a Redis that is slow
			return false, err
		}
		n.batch = min(2*n.batch, pipeline)
		n.j.done(len(ops), dropped)
	}
	return false, nil
}
