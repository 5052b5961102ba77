// Package backoff has the pauses between tries of something that fails: each about twice as long as the one before, and with jitter, so that
// nodes which lost the same Redis at the same moment do not come back to it in step.
//
// Loops that try for ever use it (bus, cluster, process, push, the accept loop). It needs nothing; time is the runtime's.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff is one loop's pauses. Its zero value with Min and Max set is ready. It is used by one goroutine at a time.
type Backoff struct {
	Min, Max time.Duration // of a pause, before jitter

	next    time.Duration // before jitter; 0 = Min
	failing bool
}

// Next is the pause before the next try: between a half and the whole of an interval that doubles from Min to Max.
func (b *Backoff) Next() time.Duration {
	d := max(b.next, b.Min)
	b.next = min(2*d, b.Max)
	b.failing = true
	return d - rand.N(d/2+1)
}

// Wait lets the next pause pass. It returns false at once when done is closed.
func (b *Backoff) Wait(done <-chan struct{}) bool {
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}

// Failing tells whether there was a pause since the last Reset: what fails is logged once, and so is its end.
func (b *Backoff) Failing() bool { return b.failing }

// Reset begins anew with Min, after a success. It tells whether something had failed.
func (b *Backoff) Reset() (failed bool) {
	failed = b.failing
	b.next, b.failing = 0, false
	return failed
}
