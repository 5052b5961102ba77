// Package tally counts what the server refused or ended, by code and reason, and says when a line
// of log is due for it: the first of a kind at once, then one a minute at most.
//
// The accepting side counts handshakes with it, and the close path connections. Reasons are the
// server's own texts: what a client wrote must not stand in a metric or a log.
package tally

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"wsframe/framework/api"
	"wsframe/framework/internal/lograte"
)

const (
	maxKinds    = 128 // an application may close with any reason
	otherReason = "other"
)

// Tally counts by kind. Its zero value is ready; it is safe for concurrent use.
type Tally struct {
	mu    sync.Mutex // taken before a line's
	kinds map[kind]*count
}

type kind struct {
	code   int
	reason string
}

type count struct {
	n    int64
	line lograte.Limit
}

// Note counts one at now. It returns how many there were since the last line of log, this one
// included, where a line is due; else 0.
func (t *Tally) Note(code int, reason string, now time.Time) (since int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kinds == nil {
		t.kinds = map[kind]*count{}
	}
	k := kind{code, reason}
	c := t.kinds[k]
	if c == nil && len(t.kinds) >= maxKinds {
		k = kind{0, otherReason}
		c = t.kinds[k]
	}
	if c == nil {
		c = &count{}
		t.kinds[k] = c
	}
	c.n++
	return c.line.Due(now)
}

// List returns all counts, sorted by code and reason.
func (t *Tally) List() []api.Counted {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]api.Counted, 0, len(t.kinds))
	for k, c := range t.kinds {
		list = append(list, api.Counted{Code: k.code, Reason: k.reason, N: c.n})
	}
	slices.SortFunc(list, func(a, b api.Counted) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}
