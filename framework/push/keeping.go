package push

import (
	"context"
	"sync"
	"time"

	"wsframe/framework/internal/backoff"
)

const (
	maxKeeping  = 4096            // writes that wait for the Store to answer
	writeTime   = 2 * time.Second // one try
	writeFirst  = 100 * time.Millisecond
	writeLast   = 5 * time.Second
	keepingStop = 2 * time.Second // for what still waits when the server ends
)

// keeping writes to the Store what could not be written at once, until it is written or its key has ended.
type keeping struct {
	life context.Context
	stop context.CancelFunc

	mu    sync.Mutex
	n     int
	empty chan struct{} // not nil: closed when n is 0
}

func newKeeping() *keeping {
	k := &keeping{}
	k.life, k.stop = context.WithCancel(context.Background())
	return k
}

// left tells whether there is room for more. Requests that run already may pass it: there are at most maxRequests.
func (k *keeping) left() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n < maxKeeping
}

// add tries write again and again.
func (k *keeping) add(c *claim, write func(context.Context) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life.Err() != nil {
		return
	}
	k.n++
	go func() {
		defer k.done()
		retry(k.life, c.end, write)
	}()
}

func (k *keeping) done() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n--; k.n == 0 && k.empty != nil {
		close(k.empty)
		k.empty = nil
	}
}

// end gives what waits a last while, and ends it.
func (k *keeping) end(ctx context.Context) {
	k.mu.Lock()
	var empty chan struct{}
	if k.n > 0 {
		if k.empty == nil {
			k.empty = make(chan struct{})
		}
		empty = k.empty
	}
	k.mu.Unlock()
	if empty != nil {
		select {
		case <-empty:
		case <-time.After(keepingStop):
		case <-ctx.Done():
		}
	}
	k.stop()
}

// retry calls write until it succeeds, end has come or ctx is done. The pauses grow, and differ, so that many do not come
// at once when the Store answers again.
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
