package framework

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// tally counts what the server refused or ended, by code and reason, and says when a line of log is due: the first of a kind at once, then
// one a minute at most. Reasons are the server's own texts. Safe for concurrent use; its lock is a leaf.
type tally struct {
	mu   sync.Mutex
	kept map[kindOf]*count
}

type kindOf struct {
	code   int
	reason string
}

type count struct {
	n, logged int64
	at        time.Time // of the last line
}

const (
	maxKinds    = 128 // an application may close with any reason
	otherReason = "other"
	logEvery    = time.Minute
)

// note counts one. since is how many there were since the last line; 0 = none is due.
func (t *tally) note(code int, reason string, now time.Time) (since int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil {
		t.kept = map[kindOf]*count{}
	}
	key := kindOf{code, reason}
	c := t.kept[key]
	if c == nil && len(t.kept) >= maxKinds {
		key = kindOf{0, otherReason}
		c = t.kept[key]
	}
	if c == nil {
		c = &count{}
		t.kept[key] = c
	}
	c.n++
	if !c.at.IsZero() && now.Sub(c.at) < logEvery {
		return 0
	}
	since = c.n - c.logged
	c.logged, c.at = c.n, now
	return since
}

// Counted is how often something has happened since this worker started.
type Counted struct {
	Code   int    // HTTP status of a refused handshake, close code of a connection; 0 = of those that are not told apart
	Reason string // the server's own words
	N      int64
}

// Refused counts the handshakes that were not let in, by HTTP status and reason.
func (a *App) Refused() []Counted { return a.refused.list() }

// ClosedByServer counts the connections that the server closed, by close code and reason.
func (a *App) ClosedByServer() []Counted { return a.closed.list() }

// list gives all counts, sorted by code and reason.
func (t *tally) list() []Counted {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Counted, 0, len(t.kept))
	for key, c := range t.kept {
		list = append(list, Counted{key.code, key.reason, c.n})
	}
	slices.SortFunc(list, func(a, b Counted) int {
		if a.Code != b.Code {
			return a.Code - b.Code
		}
		return strings.Compare(a.Reason, b.Reason)
	})
	return list
}
