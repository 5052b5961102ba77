package cluster

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"wsframe/library/cache"
)

// A Redis without memory refuses additions and executes removals. The Writer then writes the
// removals of the journal at once, and only notes the connections of the additions as lacking.
// These are compared with Redis until it accepts them.

const (
	fillTime     = time.Second // between two calls of fill
	fullLogPause = time.Minute // between two log lines
)

// noteFull notes that Redis has no memory.
func (co *comparison) noteFull(err error) {
	if co.full {
		return
	}
	co.full = true
	now := co.c.now()
	if co.filledAt = now; now.Sub(co.loggedFull) < fullLogPause {
		return
	}
	co.loggedFull = now
	co.c.log.Warn("redis has no memory: the bookkeeping of new connections and rooms waits, that of ended ones does not", zap.Error(err))
}

// removing returns the ops that need no memory, and notes the connections of the others as lacking.
func (co *comparison) removing(ops []op) []op {
	kept := make([]op, 0, len(ops))
	lacking := map[int64]lack{}
	var ended []int64
	for i := range ops {
		switch o := &ops[i]; o.kind {
		case opOpened:
			lacking[o.fd] = lack{opened: true, unheard: co.doubts[o.fd] == nil}
		case opKeyAdded, opCloseKeyAdded, opListenerAdded:
			if _, ok := lacking[o.fd]; !ok && !co.local.gone(o.fd) {
				lacking[o.fd] = lack{}
			}
		case opClosed:
			delete(lacking, o.fd)
			ended = append(ended, o.fd)
			kept = append(kept, *o)
		default:
			kept = append(kept, *o)
		}
	}
	floor := co.numbers.floor.Load()
	maps.DeleteFunc(lacking, func(fd int64, _ lack) bool { return fd < floor })
	co.journal.lack(lacking)
	co.journal.filled(ended)
	return kept
}

// lack notes live connections for which Redis has no memory.
func (co *comparison) lack(fds []int64, extra map[int64]*Entry) {
	lacking := make(map[int64]lack, len(fds))
	for _, fd := range fds {
		lacking[fd] = lack{}
		if x := extra[fd]; x != nil {
			co.doubt(fd, x)
			co.doubtAt = co.c.now()
		}
	}
	co.journal.lack(lacking)
}

// fill tries to write the lacking connections. Those that end meanwhile are left to their Closed.
func (co *comparison) fill(ctx context.Context) error {
	co.filledAt = co.c.now()
	lacking := co.journal.lacks()
	wanted := co.local.entries(slices.Collect(maps.Keys(lacking)))
	var opened, others []int64
	// The newest connection of a user comes last, and gets the user's entry.
	for _, fd := range slices.Sorted(maps.Keys(wanted)) {
		if lacking[fd].opened {
			opened = append(opened, fd)
		} else {
			others = append(others, fd)
		}
	}
	for i, fds := range [][]int64{opened, others} {
		for chunk := range slices.Chunk(fds, pipeline/8) {
			switch err := co.compare(ctx, chunk, wanted, nil, i == 0); {
			case cache.Full(err):
				return nil
			case err != nil:
				return err
			}
			co.journal.filled(chunk)
		}
	}
	if len(lacking) > len(wanted) {
		return nil
	}
	co.full = false
	if len(wanted) > 0 {
		co.c.log.Info("redis has memory again")
	}
	return nil
}
