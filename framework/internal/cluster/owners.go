package cluster

import (
	"context"
	"fmt"
	"maps"
	"sync"
)

// Owners tells whose connections are: after a death, the listeners of each are told by one process.
type Owners struct {
	lease   *Lease
	numbers *Numbers
	journal *journal
	life    *life

	mu      sync.Mutex     // a leaf
	unheard map[int64]bool // live connections of earlier incarnations that Redis never heard of
}

// Owner tells, without asking, whether the close listeners of a connection that has ended are to be
// told here. They are not when this node was declared dead: whoever did that tells them, but of
// connections that Redis never heard of. known = false: Redis does not answer, so nobody knows what
// the others have declared, or whether Redis will hear that they were told.
func (ow *Owners) Owner(fd int64) (mine, known bool) {
	if ow.lease.c.leased() && (ow.lease.lost.Load() || ow.lease.unreachable.Load() || !ow.lease.holds()) {
		return false, false
	}
	if fd >= ow.numbers.floor.Load() {
		return true, true
	}
	ow.mu.Lock()
	defer ow.mu.Unlock()
	return ow.unheard[fd], true
}

// Owns is Owner that waits, until ctx ends, for Redis to answer.
func (ow *Owners) Owns(ctx context.Context, fd int64) (bool, error) {
	for {
		answer := ow.lease.untilReachable()
		if mine, known := ow.Owner(fd); known {
			return mine, nil
		}
		select {
		case <-answer:
		case <-ctx.Done():
			return false, fmt.Errorf("wait for Redis to say whose %d is: %w", fd, ctx.Err())
		case <-ow.life.ctx.Done():
			return false, fmt.Errorf("wait for Redis to say whose %d is: %w", fd, ow.life.ctx.Err())
		}
	}
}

// Unheard are the connections that Redis has not heard of yet: nobody else can tell their
// listeners. Of live ones it may hear still.
func (ow *Owners) Unheard() map[int64]bool {
	fds := ow.journal.unheard()
	ow.mu.Lock()
	defer ow.mu.Unlock()
	maps.Copy(fds, ow.unheard)
	return fds
}

// keep notes connections of an incarnation that ended, of which Redis never heard.
func (ow *Owners) keep(unheard map[int64]bool) {
	ow.mu.Lock()
	defer ow.mu.Unlock()
	maps.Copy(ow.unheard, unheard)
}

// ended notes that such a connection has ended, and its listeners were told.
func (ow *Owners) ended(fd int64) {
	if fd >= ow.numbers.floor.Load() {
		return
	}
	ow.mu.Lock()
	defer ow.mu.Unlock()
	delete(ow.unheard, fd)
}

// Closed takes a connection out of all its sets, then removes its bookkeeping. The caller must have
// ended its part in Live and Alive, and notified its listeners.
func (ow *Owners) Closed(e Entry) {
	ow.ended(e.FD)
	if ow.numbers.current(e.FD) {
		ow.journal.append(op{kind: opClosed, fd: e.FD, entry: &e})
	}
}
