// Package lograte bounds the log of events that others can cause at any rate: refused handshakes,
// failing accepts, wrong tokens.
//
// Callers log when Due returns a number, and log that number: the events that the line stands for.
package lograte

import (
	"cmp"
	"sync"
	"time"
)

// Limit allows one line for each interval. Its zero value is ready to use. It is safe for
// concurrent use, and its lock is a leaf.
type Limit struct {
	Every time.Duration // the interval; 0 = a minute

	mu sync.Mutex
	n  int64 // events since the last line
	at time.Time
}

// Due counts an event at now. Where a line is due it returns the number of events since the last
// one, this one included, and otherwise 0.
func (l *Limit) Due(now time.Time) (events int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	if !l.at.IsZero() && now.Sub(l.at) < cmp.Or(l.Every, time.Minute) {
		return 0
	}
	events = l.n
	l.n, l.at = 0, now
	return events
}
