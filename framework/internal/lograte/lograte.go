// Package lograte bounds the log of what others can cause at any rate: refused handshakes, failing accepts, wrong tokens.
//
// Its callers log when Due says so, and say how many events a line stands for. It needs nothing.
package lograte

import (
	"cmp"
	"sync"
	"time"
)

// Limit lets one line in Every pass. Its zero value is ready; it is safe for concurrent use, and its lock is a leaf.
type Limit struct {
	Every time.Duration // 0 = a minute

	mu sync.Mutex
	n  int64 // events since the last line
	at time.Time
}

// Due counts an event at now. It returns how many there were since the last line, this one included, where a line is due; else 0.
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
