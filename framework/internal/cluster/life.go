package cluster

import (
	"context"
	"sync"
	"time"
)

// life is the lifetime of a node's background goroutines.
type life struct {
	ctx context.Context
	end context.CancelFunc

	mu    sync.Mutex // a leaf
	ended bool
	work  sync.WaitGroup
}

func newLife() *life {
	li := &life{}
	li.ctx, li.end = context.WithCancel(context.Background())
	return li
}

// Go starts a goroutine, unless the life has ended, and reports whether it did.
func (li *life) Go(f func()) bool {
	li.mu.Lock()
	defer li.mu.Unlock()
	if li.ended {
		return false
	}
	li.work.Go(f)
	return true
}

// stop ends the life, and waits for its goroutines.
func (li *life) stop() {
	li.mu.Lock()
	li.ended = true
	li.end()
	li.mu.Unlock()
	li.work.Wait()
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// turn is a lock for work that waits for Redis. Unlike with a mutex, ctx ends the wait for it.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) acquire(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) release() { <-t }
