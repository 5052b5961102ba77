package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"
)

type opKind uint8

const (
	opOpened opKind = iota
	opClosed
	opKeyAdded
	opKeyRemoved
	opCloseKeyAdded
	opCloseKeyRemoved
	opListenerAdded
	opListenerRemoved
	opStale
	opLeaving
)

// op is one change. Each op can be written twice, since a pipeline that timed out may have been
// executed.
type op struct {
	kind  opKind
	fd    int64
	key   string
	entry *Entry // opened and closed

	present *Present // leaving
}

// commands estimates the cost of the op in Redis, in commands.
func (o *op) commands() int {
	switch o.kind {
	case opOpened, opClosed:
		return 2 + len(o.entry.Keys)
	case opKeyAdded, opKeyRemoved, opLeaving:
		return 2
	}
	return 1
}

// withoutConflicts returns the first ops that one plan can write. Since a plan removes last, they
// do not add again what one of them removes.
func withoutConflicts(ops []op) []op {
	type name struct {
		fd  int64
		key string
	}
	removed := map[name]bool{}
	for i := range ops {
		o := &ops[i]
		switch o.kind {
		case opKeyRemoved, opCloseKeyRemoved, opListenerRemoved:
			removed[name{o.fd, o.key}] = true
		case opKeyAdded, opCloseKeyAdded, opListenerAdded:
			if removed[name{o.fd, o.key}] {
				return ops[:i]
			}
		}
	}
	return ops
}

// journal holds the changes that Redis does not know yet, in order. It has two buffers: one is
// appended to, one is being written.
type journal struct {
	max  int
	now  func() time.Time
	wake chan struct{}

	mu      sync.Mutex
	ops     []op
	since   time.Time // of the oldest of ops
	writing []op      // the writer's ops; Redis has those before at
	at      int
	begun   time.Time // of the oldest of writing
	dropped int       // number of drops; each makes what the Writer holds void

	appended  uint64 // ops ever
	written   uint64 // of these, how many Redis has or were dropped
	attempted uint64 // of these, how many Redis may have
	overflow  bool   // ops were dropped, so Redis must be compared
	undone    []op   // dropped removals from sets, at most max
	resyncs   int

	lacking map[int64]lack // connections for which Redis has no memory

	waiters int
	changed chan struct{} // closed and replaced at progress, if somebody waits
}

func newJournal(max int, now func() time.Time) *journal {
	return &journal{max: max, now: now, changed: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// pending returns the number of ops that Redis does not have, the number of comparisons after
// drops, and the approximate age of the oldest op.
func (j *journal) pending() (ops, resyncs int, lag time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.at < len(j.writing):
		lag = j.now().Sub(j.begun)
	case len(j.ops) > 0:
		lag = j.now().Sub(j.since)
	}
	return j.len(), j.resyncs, lag
}

func (j *journal) len() int { return len(j.ops) + len(j.writing) - j.at }

func (j *journal) append(o op) {
	j.mu.Lock()
	if j.len() >= j.max {
		j.drop()
		j.overflow = true
	}
	if len(j.ops) == 0 {
		j.since = j.now()
	}
	j.ops = append(j.ops, o)
	j.appended++
	j.mu.Unlock()
	j.poke()
}

func (j *journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// drop forgets all ops except removals from sets. The Writer may still read the old buffers. mu is
// held.
func (j *journal) drop() {
	for _, list := range [][]op{j.writing[j.at:], j.ops} {
		for i := range list {
			if k := list[i].kind; (k == opClosed || k == opKeyRemoved) && len(j.undone) < j.max {
				j.undone = append(j.undone, list[i])
			}
		}
	}
	j.ops, j.writing, j.at = nil, nil, 0
	j.dropped++
	j.written = j.appended
	j.notify()
}

// abandon drops everything for good, since others clean up after this incarnation. It returns the
// connections that Redis has never heard of.
func (j *journal) abandon() (unheard map[int64]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	unheard = j.unattempted()
	j.drop()
	j.overflow, j.lacking = false, nil
	return unheard
}

func (j *journal) notify() {
	if j.waiters > 0 {
		close(j.changed)
		j.changed = make(chan struct{})
	}
}

// next returns the Writer's next ops, limited by their commands, and the number of drops before
// them.
func (j *journal) next(commands int) (ops []op, dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.at == len(j.writing) {
		const keep = 4096 // an outage made a larger one
		clear(j.writing)
		if cap(j.writing) > keep {
			j.writing = nil
		}
		j.writing, j.ops, j.at, j.begun = j.ops, j.writing[:0], 0, j.since
	}
	rest := j.writing[j.at:]
	count := 0
	for i := range rest {
		if count += rest[i].commands(); count > commands && i > 0 {
			return rest[:i], j.dropped
		}
	}
	return rest, j.dropped
}

// attempt notes that the Writer is about to write its ops.
func (j *journal) attempt(count, dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if dropped == j.dropped {
		j.attempted = max(j.attempted, j.written+uint64(count))
	}
}

// attemptAll notes that a comparison may write everything that was appended so far.
func (j *journal) attemptAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.attempted = j.appended
}

// unattempted returns the live connections whose Opened was never attempted. mu is held.
func (j *journal) unattempted() map[int64]bool {
	fds, at := map[int64]bool{}, j.written
	for fd, l := range j.lacking {
		if l.unheard {
			fds[fd] = true
		}
	}
	for _, list := range [][]op{j.writing[j.at:], j.ops} {
		for i := range list {
			switch o := &list[i]; {
			case o.kind == opOpened && at >= j.attempted:
				fds[o.fd] = true
			case o.kind == opClosed:
				delete(fds, o.fd)
			}
			at++
		}
	}
	return fds
}

// unheard returns the live connections that only this process can know.
func (j *journal) unheard() map[int64]bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unattempted()
}

// done notes that Redis has the Writer's ops.
func (j *journal) done(count, dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if dropped != j.dropped {
		return
	}
	j.at += count
	j.written += uint64(count)
	j.notify()
}

// overflowed reports whether Redis must be compared, and the number of drops so far.
func (j *journal) overflowed() (bool, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.overflow, j.dropped
}

// places returns and forgets the dropped removals.
func (j *journal) places() []op {
	j.mu.Lock()
	defer j.mu.Unlock()
	undone := j.undone
	j.undone = nil
	return undone
}

// resynced notes a comparison. After further drops another one is necessary.
func (j *journal) resynced(dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if dropped == j.dropped {
		j.overflow = false
		j.resyncs++
		j.notify()
	}
}

// flush waits until Redis has everything that was appended before the call.
func (j *journal) flush(ctx context.Context, ended <-chan struct{}) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiters++
	defer func() { j.waiters-- }()
	for target := j.appended; j.written < target || j.overflow || len(j.lacking) > 0; {
		remaining, changed := j.len(), j.changed
		j.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		case <-ended:
			err = context.Canceled
		}
		j.mu.Lock()
		if err != nil {
			return fmt.Errorf("redis does not have %d bookkeeping operations yet: %w", remaining, err)
		}
	}
	return nil
}

// opened calls f with each connection whose Opened is not in Redis yet.
func (j *journal) opened(f func(fd int64)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, list := range [][]op{j.writing[j.at:], j.ops} {
		for i := range list {
			if list[i].kind == opOpened {
				f(list[i].fd)
			}
		}
	}
}
