package cluster

import (
	"context"
	"fmt"
	"maps"
	"sync"
)

// Owners decides which process notifies the listeners of a connection: exactly one does, also after
// this node was declared dead.
type Owners struct {
	lease   *Lease
	numbers *Numbers
	journal *journal
	life    *life

	mu      sync.Mutex     // a leaf
	unheard map[int64]bool // live connections of earlier incarnations that Redis never heard of
}

// Owner reports, without a call, whether this process must notify the close listeners of a
// connection that has ended.
//
// After this node was declared dead, another process does, except for connections that Redis has
// never heard of. Without known, Redis does not answer, so the other nodes may have declared this
// one dead.
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

// Owns is Owner, but waits until Redis answers or ctx ends.
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

// Unheard returns the connections that Redis does not know yet, so that only this process can
// notify their listeners.
func (ow *Owners) Unheard() map[int64]bool {
	fds := ow.journal.unheard()
	ow.mu.Lock()
	defer ow.mu.Unlock()
	maps.Copy(fds, ow.unheard)
	return fds
}

// keep adds connections of an ended incarnation that Redis has never heard of.
func (ow *Owners) keep(unheard map[int64]bool) {
	ow.mu.Lock()
	defer ow.mu.Unlock()
	maps.Copy(ow.unheard, unheard)
}

// ended removes such a connection, whose listeners were notified.
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
