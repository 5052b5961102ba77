package nodetest

import (
	"os"
	"sync"
	"time"
)

// ending is the reading side of a stream: nothing comes until the connection ends.
type ending struct {
	mu  sync.Mutex
	err error // why reads end; nil = they wait
	at  chan struct{}
}

func (e *ending) end(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
		close(e.at)
	}
}

func (e *ending) Read([]byte) (int, error) {
	<-e.at
	e.mu.Lock()
	defer e.mu.Unlock()
	return 0, e.err
}

func (e *ending) SetDeadline(at time.Time) error   { return e.SetReadDeadline(at) }
func (e *ending) SetWriteDeadline(time.Time) error { return nil }
func (e *ending) SetReadDeadline(at time.Time) error {
	if !at.IsZero() && !at.After(time.Now()) {
		e.end(os.ErrDeadlineExceeded)
	}
	return nil
}
