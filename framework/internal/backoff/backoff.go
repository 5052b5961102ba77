// Package backoff computes the pauses between retries. Each is about twice as long as the one
// before, with jitter: nodes that lost the same Redis at the same moment do not return to it in
// step.
//
// Loops that retry for ever use it: bus, cluster, process, push, the accept loop.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff is the state of one loop's pauses. Its zero value with Min and Max set is ready to use.
// It is not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration // of a pause, before jitter

	next    time.Duration // before jitter; 0 = Min
	failing bool
}

// Next returns the pause before the next try: between a half and the whole of an interval that
// doubles from Min to Max.
func (b *Backoff) Next() time.Duration {
	d := max(b.next, b.Min)
	b.next = min(2*d, b.Max)
	b.failing = true
	return d - rand.N(d/2+1)
}

// Wait waits for the next pause. It returns false at once when done is closed.
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

// Failing reports whether there was a pause since the last Reset. Callers log the first failure and
// the recovery only.
func (b *Backoff) Failing() bool { return b.failing }

// Reset notes a success: the next pause is Min again. It reports whether there was a pause before.
func (b *Backoff) Reset() (failed bool) {
	failed = b.failing
	b.next, b.failing = 0, false
	return failed
}
