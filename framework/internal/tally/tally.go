// Package tally counts refused handshakes and closed connections by code and reason, and limits
// their log lines: the first of a kind is logged at once, further ones once a minute.
//
// The accept package counts handshakes with it, and the close path connections. Reasons are texts
// of the server or the application: a client's text must not appear in a metric or a log.
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
	mu    sync.Mutex // acquired before a lograte.Limit's
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

// Note counts one event at time now. If a log line is due it returns the number of events since the
// last one, including this one; else 0.
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
