package cluster

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"wsframe/library/cache"
)

// pipeline is how many commands leave together: enough to make a round trip cheap, few enough for Timeout.
const pipeline = 512

// gatherTime is how long the writer waits behind a pipeline: what comes meanwhile leaves together. Nothing waits where it is quiet.
const gatherTime = 2 * time.Millisecond

// doubtTime is how many timeouts after a failed pipeline its commands are taken to have been executed or lost. A server
// that answers again has them behind it at once; a proxy may hold them longer.
const doubtTime = 4

// releaseUID removes users' entries only while they still point to these connections: a second device may have come since.
const releaseUID = `
for i = 1, #ARGV, 2 do
	if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i+1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 0`

// writeOps writes a batch. What opened comes first and what closed last, each kind as few commands: no two connections' operations
// disturb each other, but for a user's entry, which the newest keeps in any order.
func (n *Node) writeOps(ctx context.Context, p *plan, ops []op) {
	floor := n.floor.Load()
	var opened, closed []*Entry
	var left []*Present
	for i := range ops {
		switch o := &ops[i]; {
		case o.kind == opLeaving: // whoever cleans up after the connection
			left = append(left, o.present)
		case o.kind == opOpened && o.fd >= floor:
			opened = append(opened, o.entry)
		}
	}
	n.writeEntries(ctx, p, opened, true)
	n.writeLeaving(ctx, p, left) // before the places go by which it would be found
	for i := 0; i < len(ops); {
		o := &ops[i]
		switch {
		case o.fd < floor && o.kind != opStale, o.kind == opOpened, o.kind == opLeaving:
			i++
		case o.kind == opClosed:
			closed = append(closed, o.entry)
			i++
		case o.kind == opKeyAdded:
			end := i + 1
			for end < len(ops) && ops[end].kind == opKeyAdded {
				end++
			}
			n.writeKeys(ctx, p, ops[i:end], floor)
			i = end
		default:
			n.writeOp(ctx, p, o)
			i++
		}
	}
	n.removeEntries(ctx, p, closed)
}

// gone tells of an operation whose connection has ended before it was noted: nothing would undo it. If the connection
// ends from here on, its Closed is noted later.
func (n *Node) gone(fd int64) bool { return n.cfg.Alive != nil && !n.cfg.Alive(fd) }

// writeKeys writes a run of keys that were added.
func (n *Node) writeKeys(ctx context.Context, p *plan, ops []op, floor int64) {
	var names []string
	members := map[string][]any{}
	for i := range ops {
		o := &ops[i]
		if o.fd < floor || n.gone(o.fd) {
			continue
		}
		fd := str(o.fd)
		p.note.SAdd(ctx, n.keys.closing(fd), o.key)
		if members[o.key] == nil {
			names = append(names, o.key)
		}
		members[o.key] = append(members[o.key], fd)
	}
	for _, key := range names {
		p.places.SAdd(ctx, n.keys.prefix+key, members[key]...)
	}
}

func (n *Node) writeOp(ctx context.Context, p *plan, o *op) {
	fd, k := str(o.fd), n.keys
	switch o.kind {
	case opCloseKeyAdded:
		if !n.gone(o.fd) {
			p.note.SAdd(ctx, k.closing(fd), o.key)
		}
	case opListenerAdded:
		if !n.gone(o.fd) {
			p.note.SAdd(ctx, k.listeners(fd), o.key)
		}
	case opKeyRemoved:
		p.places.SRem(ctx, k.prefix+o.key, fd)
		p.forget.SRem(ctx, k.closing(fd), o.key)
	case opCloseKeyRemoved:
		p.forget.SRem(ctx, k.closing(fd), o.key)
	case opListenerRemoved:
		p.forget.SRem(ctx, k.listeners(fd), o.key)
	case opStale:
		p.places.SRem(ctx, k.prefix+o.key, fd)
	}
}

// writeEntry asserts a live connection.
func (n *Node) writeEntry(ctx context.Context, p *plan, e *Entry, fresh bool) {
	n.writeEntries(ctx, p, []*Entry{e}, fresh)
}

// writeEntries asserts live connections: the node's list first, by which they are found, then their bookkeeping and their
// places in the sets they are in.
func (n *Node) writeEntries(ctx context.Context, p *plan, list []*Entry, fresh bool) {
	if len(list) == 0 {
		return
	}
	k := n.keys
	fds, infos := make([]any, 0, len(list)), make([]any, 0, 2*len(list))
	var uids []any
	for _, e := range list {
		fd := str(e.FD)
		fds, infos = append(fds, fd), append(infos, fd, e.Auth)
		if e.UID != "" && fresh {
			uids = append(uids, e.UID, fd)
		}
	}
	p.list.SAdd(ctx, k.fds(n.self()), fds...)
	p.note.HSet(ctx, k.info(), infos...)
	if len(uids) > 0 {
		p.places.HSet(ctx, k.uids(), uids...)
	}
	for _, e := range list {
		fd := str(e.FD)
		if e.UID != "" && !fresh {
			p.places.HSetNX(ctx, k.uids(), e.UID, fd) // a newer connection of the user's may have it
		}
		if len(e.Listeners) > 0 {
			p.note.SAdd(ctx, k.listeners(fd), e.Listeners)
		}
		if len(e.Keys) > 0 {
			p.note.SAdd(ctx, k.closing(fd), e.Keys)
		}
		for _, key := range e.Keys {
			p.places.SAdd(ctx, k.prefix+key, fd)
		}
		n.assertPresent(ctx, p.places, e.Present)
	}
}

func (n *Node) removeEntry(ctx context.Context, p *plan, e *Entry) {
	n.removeEntries(ctx, p, []*Entry{e})
}

// removeEntries takes connections out of their sets, then removes their bookkeeping, the node's list last.
func (n *Node) removeEntries(ctx context.Context, p *plan, list []*Entry) {
	if len(list) == 0 {
		return
	}
	n.removeTraces(ctx, p, list...)
	fds := make([]any, len(list))
	for i, e := range list {
		fds[i] = str(e.FD)
	}
	p.unlist.SRem(ctx, n.keys.fds(n.self()), fds...)
}

func (n *Node) removeTraces(ctx context.Context, p *plan, list ...*Entry) {
	k := n.keys
	var uids []any
	fds := make([]string, len(list))
	own := make([]string, 0, 2*len(list))
	for i, e := range list {
		fd := str(e.FD)
		for _, key := range e.Keys {
			p.places.SRem(ctx, k.prefix+key, fd)
		}
		if e.UID != "" {
			uids = append(uids, e.UID, fd)
		}
		fds[i] = fd
		own = append(own, k.closing(fd), k.listeners(fd))
	}
	if n.slots { // no command of a Redis Cluster may touch two slots
		for _, key := range own {
			p.forget.Del(ctx, key)
		}
	} else {
		p.forget.Del(ctx, own...)
	}
	if len(uids) > 0 {
		p.places.Eval(ctx, releaseUID, []string{k.uids()}, uids...)
	}
	p.forget.HDel(ctx, k.info(), fds...)
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
		default:
		}
		wasDue := due
		idle, err := n.step(&due)
		if wasDue && !due { // from its end: the journal has its turn in between, however long it took
			assert.Reset(n.cfg.Assert)
		}
		switch {
		case n.ctx.Err() != nil:
			return
		case err != nil:
			if pause == 0 {
				n.cfg.Log.Warn("redis does not take the bookkeeping; it is kept and repeated", zap.Error(err))
			}
			n.answers(false)
			n.shaken, n.doubtAt = true, n.cfg.Now()
			n.slower()
			pause = min(max(2*pause, 20*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-n.ctx.Done():
				return
			}
			continue
		case pause > 0:
			n.cfg.Log.Info("redis takes the bookkeeping again")
			n.answers(true)
			pause = 0
		}
		if !idle {
			if waiting, _ := n.Pending(); waiting < pipeline {
				select {
				case <-time.After(gatherTime):
				case <-n.ctx.Done():
					return
				}
			}
			continue
		}
		var doubtful, fill <-chan time.Time
		if n.full.Load() {
			fill = time.After(fillTime)
		}
		if len(n.doubts) > 0 {
			doubtful = time.After(doubtTime * n.cfg.Timeout)
		}
		select {
		case <-doubtful:
		case <-fill:
		case <-n.j.wake:
		case <-assert.C:
			due = true
		case <-n.ctx.Done():
			return
		}
	}
}

// slower makes pipelines shorter, so that a Redis that is slow takes them in its time at last.
func (n *Node) slower() { n.batch = max(n.batch/2, pipeline/32) }

// step does the next thing there is to do. idle = there was nothing.
func (n *Node) step(due *bool) (idle bool, err error) {
	ctx := n.ctx
	if n.lost.Load() {
		return false, n.renounce(ctx)
	}
	ops, dropped := n.j.take(n.batch)
	overflow, answers := n.j.overflowed()
	doubtful := len(n.doubts) > 0 && n.cfg.Now().Sub(n.doubtAt) > doubtTime*n.cfg.Timeout
	fill := n.full.Load() && n.cfg.Now().Sub(n.filledAt) >= fillTime
	if len(ops) == 0 && !overflow && !n.forgotten.Load() && !*due && !doubtful && !fill {
		return true, nil
	}
	// Nothing is written by a node that may have been declared dead meanwhile: others clean up after it. Nor while Redis is away, so that
	// it is known what it has never heard of.
	if n.leased() && (n.away.Load() || !n.leaseHolds()) {
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
		n.forgetTold()
		n.forgotten.Store(false)
		n.cfg.Log.Warn("redis was emptied; the live connections are written again")
		if err = n.rewrite(ctx); err != nil {
			n.forgotten.Store(true)
		}
		return false, err
	case doubtful:
		return false, n.settleDoubts(ctx)
	case fill:
		return false, n.fill(ctx)
	case *due:
		*due = false
		if err := n.heal(ctx); err != nil && ctx.Err() == nil {
			n.slower()
			n.cfg.Log.Warn("live connections cannot be asserted in redis", zap.Error(err)) // again next time
		}
	default:
		ops = n.straight(ops)
		n.j.try(len(ops), dropped)
		write := ops
		if n.full.Load() {
			write = n.removing(ops)
		}
		err := n.write(ctx, func(ctx context.Context, p *plan) { n.writeOps(ctx, p, write) })
		if cache.Full(err) && !n.full.Load() {
			n.doubtOps(ops)
			n.doubtAt = n.cfg.Now()
			n.isFull(err)
			return false, nil // at once again, without what needs memory
		}
		if err != nil {
			n.doubtOps(ops)
			return false, err
		}
		n.batch = min(n.batch+pipeline/128, pipeline) // slowly: each try too many is a timeout
		n.remember(ops)
		n.j.done(len(ops), dropped)
	}
	return false, nil
}
