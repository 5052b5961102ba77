package push

import (
	"context"
	"sync"
	"time"

	"wsframe/framework/internal/backoff"
)

const (
	maxRetrying = 4096            // writes at once
	writeTime   = 2 * time.Second // bounds one try
	writeFirst  = 100 * time.Millisecond
	writeLast   = 5 * time.Second
	retryStop   = 2 * time.Second // for the writes that remain when the server ends
)

// retrier repeats writes to the Store that have failed, until they succeed or their key has
// expired.
type retrier struct {
	life   context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	n     int           // writes
	empty chan struct{} // not nil: is closed when n is 0
}

func newRetrier() *retrier {
	r := &retrier{}
	r.life, r.cancel = context.WithCancel(context.Background())
	return r
}

// hasRoom tells whether more writes may be added. Requests that run already may exceed the bound,
// each by one.
func (r *retrier) hasRoom() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n < maxRetrying
}

// add repeats write until it succeeds or the time end has come.
func (r *retrier) add(end time.Time, write func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return
	}
	r.n++
	go func() {
		defer r.done()
		retry(r.life, end, write)
	}()
}

func (r *retrier) done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
}

// end waits retryStop at most for the writes that remain, and then gives them up.
func (r *retrier) end(ctx context.Context) {
	r.mu.Lock()
	var empty chan struct{}
	if r.n > 0 {
		if r.empty == nil {
			r.empty = make(chan struct{})
		}
		empty = r.empty
	}
	r.mu.Unlock()
	if empty != nil {
		select {
		case <-empty:
		case <-time.After(retryStop):
		case <-ctx.Done():
		}
	}
	r.cancel()
}

// retry calls write until it succeeds, the time end has come or ctx is done. Its pauses grow and
// vary, so that the writes do not arrive all at once when the Store recovers.
func retry(ctx context.Context, end time.Time, write func(context.Context) error) {
	pauses := backoff.Backoff{Min: writeFirst, Max: writeLast}
	for time.Now().Before(end) {
		if !pauses.Wait(ctx.Done()) {
			return
		}
		try, cancel := context.WithTimeout(ctx, writeTime)
		err := write(try)
		cancel()
		if err == nil {
			return
		}
	}
}
