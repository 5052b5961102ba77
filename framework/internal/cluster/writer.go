package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
	"wsframe/library/cache"
)

// gatherTime is how long the Writer waits after a pipeline, so that further changes share the next
// one. After a quiet time a change does not wait.
const gatherTime = 2 * time.Millisecond

// doubtTime is the time, in timeouts, after which a failed pipeline's commands count as executed or
// lost. A server that answers again has executed them; a proxy may hold them longer.
const doubtTime = 4

// Writer writes the journal to Redis. Its Run is the only goroutine that writes live connections.
type Writer struct {
	c          *client
	life       *life
	numbers    *Numbers
	lease      *Lease
	owners     *Owners
	leftovers  *Leftovers
	local      *local
	journal    *journal
	presence   *Presence
	departures *departures
	comparison *comparison

	every   time.Duration     // between two comparisons
	deposed func(floor int64) // Config.Deposed; nil = none
}

// Run writes the journal until the node stops, and makes the comparisons, which must not run at the
// same time. Failures are repeated with growing pauses.
func (w *Writer) Run(ctx context.Context) {
	tries := backoff.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	assert := time.NewTimer(rand.N(w.every)) // at other times than nodes that started together
	defer assert.Stop()
	due := false
	for {
		select {
		case <-assert.C:
			due = true
		default:
		}
		wasDue := due
		idle, err := w.step(ctx, &due)
		if wasDue && !due { // from its end on, so that the journal has its turn
			assert.Reset(w.every)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !tries.Failing() {
				w.c.log.Warn("redis does not take the bookkeeping; it is kept and repeated", zap.Error(err))
			}
			w.lease.setReachable(false)
			w.comparison.afterOutage, w.comparison.doubtAt = true, w.c.now()
			w.comparison.slower()
			if !tries.Wait(ctx.Done()) {
				return
			}
			continue
		case tries.Reset():
			w.c.log.Info("redis takes the bookkeeping again")
			w.lease.setReachable(true)
		}
		if !idle {
			if waiting, _, _ := w.journal.pending(); waiting < pipeline {
				select {
				case <-time.After(gatherTime):
				case <-ctx.Done():
					return
				}
			}
			continue
		}
		var doubtful, fill <-chan time.Time
		if w.comparison.full {
			fill = time.After(fillTime)
		}
		if len(w.comparison.doubts) > 0 {
			doubtful = time.After(doubtTime * w.c.timeout)
		}
		select {
		case <-doubtful:
		case <-fill:
		case <-w.journal.wake:
		case <-assert.C:
			due = true
		case <-ctx.Done():
			return
		}
	}
}

// step does the next piece of work. idle reports that there was none.
func (w *Writer) step(ctx context.Context, due *bool) (idle bool, err error) {
	if w.lease.lost.Load() {
		return false, w.renounce(ctx)
	}
	ops, dropped := w.journal.next(w.comparison.batch)
	overflow, answers := w.journal.overflowed()
	doubtful := len(w.comparison.doubts) > 0 && w.c.now().Sub(w.comparison.doubtAt) > doubtTime*w.c.timeout
	fill := w.comparison.full && w.c.now().Sub(w.comparison.filledAt) >= fillTime
	if len(ops) == 0 && !overflow && !w.lease.forgotten.Load() && !*due && !doubtful && !fill {
		return true, nil
	}
	// A node that may have been declared dead writes nothing, since others clean up after it. Nor
	// does it write while Redis does not answer, so that it knows what Redis has never heard of.
	if w.c.leased() && (w.lease.unreachable.Load() || !w.lease.holds()) {
		if err := w.lease.refresh(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case w.lease.lost.Load():
		return false, nil
	case overflow:
		if err := w.comparison.resync(ctx); err != nil {
			return false, err
		}
		w.journal.resynced(answers)
	case w.lease.forgotten.Load():
		w.departures.forgetAnnounced()
		w.lease.forgotten.Store(false)
		w.c.log.Warn("redis was emptied; the live connections are written again")
		if err = w.comparison.rewrite(ctx); err != nil {
			w.lease.forgotten.Store(true)
		}
		return false, err
	case doubtful:
		return false, w.comparison.settleDoubts(ctx)
	case fill:
		return false, w.comparison.fill(ctx)
	case *due:
		*due = false
		if err := w.comparison.heal(ctx); err != nil && ctx.Err() == nil {
			w.comparison.slower()
			w.c.log.Warn("live connections cannot be asserted in redis", zap.Error(err))
		}
	default:
		if w.c.slots || w.comparison.full {
			ops = withoutConflicts(ops)
		}
		w.journal.attempt(len(ops), dropped)
		write := ops
		if w.comparison.full {
			write = w.comparison.removing(ops)
		}
		err := w.comparison.write(ctx, func(ctx context.Context, p *plan) { w.writeOps(ctx, p, write) })
		if cache.Full(err) && !w.comparison.full {
			w.comparison.doubtOps(ops)
			w.comparison.doubtAt = w.c.now()
			w.comparison.noteFull(err)
			return false, nil // repeated at once, without additions
		}
		if err != nil {
			w.comparison.doubtOps(ops)
			return false, err
		}
		// The batch grows slowly, since one that is too long times out.
		w.comparison.batch = min(w.comparison.batch+pipeline/128, pipeline)
		w.departures.remember(ops)
		w.comparison.enlist(write)
		w.journal.done(len(ops), dropped)
	}
	return false, nil
}

// renounce leaves all connections to the nodes that declared this one dead, and continues as
// another incarnation.
func (w *Writer) renounce(ctx context.Context) error {
	if err := w.lease.turn.acquire(ctx); err != nil {
		return err
	}
	defer w.lease.turn.release()
	old := w.c.self()
	w.c.log.Error("connections are given up", zap.Error(errDeposed))
	// This node may have written something after it was cleaned up after.
	if err := w.c.enter(ctx, old); err != nil {
		return err
	}
	b, err := w.numbers.reserve(ctx, w.numbers.size)
	if err != nil {
		return err
	}
	m := member{w.c.id, newIncarnation()}
	err = w.lease.claimName(ctx, m)
	w.lease.nameTaken.Store(errors.Is(err, ErrTaken))
	if err != nil {
		return err
	}
	if err := w.lease.acquire(ctx, m, true); err != nil {
		return err
	}
	w.comparison.roster.forget()
	w.numbers.renew(b, func() {
		w.owners.keep(w.journal.abandon())
		w.c.place.Store(&m)
	})
	w.lease.forgotten.Store(false)
	w.lease.lost.Store(false)
	w.lease.setReachable(true)
	if w.deposed != nil {
		w.life.Go(func() { w.deposed(b.next) })
	}
	return nil
}

// writeOps writes a batch: opened connections first, closed ones last, each with few commands. The
// order of different connections does not matter, except for a user's entry, which the newest one
// keeps.
func (w *Writer) writeOps(ctx context.Context, p *plan, ops []op) {
	floor := w.numbers.floor.Load()
	var opened, closed []*Entry
	var leaving []*Present
	for i := range ops {
		switch o := &ops[i]; {
		case o.kind == opLeaving: // also of connections that others clean up
			leaving = append(leaving, o.present)
		case o.kind == opOpened && o.fd >= floor:
			opened = append(opened, o.entry)
		}
	}
	p.entries(ctx, opened, true)
	w.presence.write(ctx, p, leaving) // before the sets by which a departure would be found
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
			w.writeKeys(ctx, p, ops[i:end], floor)
			i = end
		default:
			w.writeOp(ctx, p, o)
			i++
		}
	}
	p.remove(ctx, closed...)
}

// writeKeys writes consecutive KeyAdded.
func (w *Writer) writeKeys(ctx context.Context, p *plan, ops []op, floor int64) {
	var names []string
	members := map[string][]any{}
	for i := range ops {
		o := &ops[i]
		if o.fd < floor || w.local.gone(o.fd) {
			continue
		}
		fd := str(o.fd)
		p.note.SAdd(ctx, w.c.keys.closing(fd), o.key)
		if members[o.key] == nil {
			names = append(names, o.key)
		}
		members[o.key] = append(members[o.key], fd)
	}
	for _, key := range names {
		p.places.SAdd(ctx, w.c.keys.prefix+key, members[key]...)
	}
}

func (w *Writer) writeOp(ctx context.Context, p *plan, o *op) {
	fd, k := str(o.fd), w.c.keys
	switch o.kind {
	case opCloseKeyAdded:
		if !w.local.gone(o.fd) {
			p.note.SAdd(ctx, k.closing(fd), o.key)
		}
	case opListenerAdded:
		if !w.local.gone(o.fd) {
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
