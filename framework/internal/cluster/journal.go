package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
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

// op is one thing that happened. Doing it twice does no harm: a pipeline that timed out may have been executed.
type op struct {
	kind  opKind
	fd    int64
	key   string
	entry *Entry // opened and closed

	present *Present // leaving
}

// commands is about how many commands' time the op takes in Redis.
func (o *op) commands() int {
	switch o.kind {
	case opOpened, opClosed:
		return 2 + len(o.entry.Keys)
	case opKeyAdded, opKeyRemoved, opLeaving:
		return 2
	}
	return 1
}

// journal is what Redis does not know yet, in order. It has two buffers: one is appended to, one is being written.
type journal struct {
	max  int
	now  func() time.Time
	wake chan struct{}

	mu      sync.Mutex
	ops     []op
	since   time.Time // of the oldest of ops
	taken   []op      // the writer's; what is before at is in Redis
	at      int
	begun   time.Time // of the oldest of taken
	dropped int       // how often everything was dropped: what the writer still holds is void then

	appended uint64 // ops ever
	written  uint64 // of these, in Redis or dropped
	tried    uint64 // of these, so many may be in Redis
	overflow bool   // ops were dropped: Redis must be compared with what lives
	undone   []op   // of these, what would have taken connections out of sets; at most max
	resyncs  int

	lacking map[int64]lack // connections of which Redis has no memory to note something

	waiters int
	changed chan struct{} // closed and replaced when written or overflow change and somebody waits
}

func (j *journal) init(max int, now func() time.Time) {
	j.max, j.now = max, now
	j.changed = make(chan struct{})
	j.wake = make(chan struct{}, 1)
}

func (j *journal) len() int { return len(j.ops) + len(j.taken) - j.at }

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

// drop forgets everything but places that were left; mu is held. The buffers are left to the writer, which may be reading them.
func (j *journal) drop() {
	for _, list := range [][]op{j.taken[j.at:], j.ops} {
		for i := range list {
			if k := list[i].kind; (k == opClosed || k == opKeyRemoved) && len(j.undone) < j.max {
				j.undone = append(j.undone, list[i])
			}
		}
	}
	j.ops, j.taken, j.at = nil, nil, 0
	j.dropped++
	j.written = j.appended
	j.notify()
}

func (j *journal) notify() {
	if j.waiters > 0 {
		close(j.changed)
		j.changed = make(chan struct{})
	}
}

// take gives the writer its next ops, at most so many commands, and says what number of drops they belong to.
func (j *journal) take(commands int) (ops []op, dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.at == len(j.taken) {
		const keep = 4096 // a larger buffer is that of an outage
		clear(j.taken)
		if cap(j.taken) > keep {
			j.taken = nil
		}
		j.taken, j.ops, j.at, j.begun = j.ops, j.taken[:0], 0, j.since
	}
	rest := j.taken[j.at:]
	count := 0
	for i := range rest {
		if count += rest[i].commands(); count > commands && i > 0 {
			return rest[:i], j.dropped
		}
	}
	return rest, j.dropped
}

// try says that the taken ops are about to be written.
func (j *journal) try(count, dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if dropped == j.dropped {
		j.tried = max(j.tried, j.written+uint64(count))
	}
}

// tryAll says that the live connections are, so whatever was noted of them.
func (j *journal) tryAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tried = j.appended
}

// untried are the connections, not ended, whose Opened was never tried; mu is held.
func (j *journal) untried() map[int64]bool {
	fds, at := map[int64]bool{}, j.written
	for fd, l := range j.lacking {
		if l.unheard {
			fds[fd] = true
		}
	}
	for _, list := range [][]op{j.taken[j.at:], j.ops} {
		for i := range list {
			switch o := &list[i]; {
			case o.kind == opOpened && at >= j.tried:
				fds[o.fd] = true
			case o.kind == opClosed:
				delete(fds, o.fd)
			}
			at++
		}
	}
	return fds
}

// done says that Redis has the taken ops.
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

// overflowed tells whether Redis must be compared, and the number of drops that the comparison will answer.
func (j *journal) overflowed() (bool, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.overflow, j.dropped
}

// places gives what was undone, once.
func (j *journal) places() []op {
	j.mu.Lock()
	defer j.mu.Unlock()
	undone := j.undone
	j.undone = nil
	return undone
}

// resynced says that Redis was compared. If more was dropped meanwhile it must be compared again.
func (j *journal) resynced(dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if dropped == j.dropped {
		j.overflow = false
		j.resyncs++
		j.notify()
	}
}

// flush waits until Redis has all that was appended before the call.
func (j *journal) flush(ctx context.Context, ended <-chan struct{}) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiters++
	defer func() { j.waiters-- }()
	for target := j.appended; j.written < target || j.overflow || len(j.lacking) > 0; {
		left, changed := j.len(), j.changed
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
			return fmt.Errorf("redis does not have %d bookkeeping operations yet: %w", left, err)
		}
	}
	return nil
}

func (n *Node) append(o op) {
	if o.fd >= n.floor.Load() { // else it is for those to clean up who declared this node dead
		n.j.append(o)
	}
}

// Adopted notes a connection that was taken over from the previous worker, which has told Redis all of it.
func (n *Node) Adopted(fd int64) {
	if n.settled.Load() {
		return
	}
	n.restMu.Lock()
	if n.adopted != nil && fd < n.first {
		n.adopted[fd] = true
	}
	n.restMu.Unlock()
}

// Handed tells that the next worker has taken the connections: those that no longer live here are no ghosts.
func (n *Node) Handed() {
	n.settled.Store(false)
	n.j.filled(slices.Collect(maps.Keys(n.j.lacks()))) // the next worker writes them
}

// Opened notes a new connection, or one that was taken over without Redis knowing all of it.
func (n *Node) Opened(e Entry) {
	n.Adopted(e.FD)
	n.append(op{kind: opOpened, fd: e.FD, entry: &e})
}

// Closed takes a connection out of all its sets, then removes its bookkeeping. It is called after the connection's
// Live and Alive have ended and its listeners have been told.
func (n *Node) Closed(e Entry) {
	if e.FD < n.floor.Load() {
		n.restMu.Lock()
		delete(n.unheard, e.FD)
		n.restMu.Unlock()
	}
	n.append(op{kind: opClosed, fd: e.FD, entry: &e})
}

// KeyAdded puts the fd into the set key, and has it removed on close.
func (n *Node) KeyAdded(fd int64, key string) { n.append(op{kind: opKeyAdded, fd: fd, key: key}) }

// KeyRemoved undoes KeyAdded.
func (n *Node) KeyRemoved(fd int64, key string) { n.append(op{kind: opKeyRemoved, fd: fd, key: key}) }

// CloseKeyAdded has the fd removed from the set key on close; the set itself is the application's.
func (n *Node) CloseKeyAdded(fd int64, key string) {
	n.append(op{kind: opCloseKeyAdded, fd: fd, key: key})
}

// CloseKeyRemoved undoes CloseKeyAdded.
func (n *Node) CloseKeyRemoved(fd int64, key string) {
	n.append(op{kind: opCloseKeyRemoved, fd: fd, key: key})
}

// ListenerAdded has the controller told of the close.
func (n *Node) ListenerAdded(fd int64, name string) {
	n.append(op{kind: opListenerAdded, fd: fd, key: name})
}

// ListenerRemoved undoes ListenerAdded.
func (n *Node) ListenerRemoved(fd int64, name string) {
	n.append(op{kind: opListenerRemoved, fd: fd, key: name})
}

// Stale removes the fd of a connection that is gone from a set; it may have been another node's.
func (n *Node) Stale(fd int64, key string) { n.j.append(op{kind: opStale, fd: fd, key: key}) }

// Flush waits until Redis knows everything that happened before the call.
func (n *Node) Flush(ctx context.Context) error { return n.j.flush(ctx, n.ctx.Done()) }
