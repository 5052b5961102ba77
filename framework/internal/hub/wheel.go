package hub

import (
	"sync"
	"sync/atomic"
)

// wheelSize is the number of slots of a wheel, one for each second.
const wheelSize = 128

// wheel holds, for each coming second, the numbers of the connections that housekeeping visits
// then. So connections at rest cost nothing between their pings, however many there are.
//
// Each connection knows the second of its next visit. An entry of any other second is out of date
// and ignored, so that a visit can be made earlier without a search. It is safe for concurrent use.
type wheel struct {
	mu    sync.Mutex
	at    int64 // the second that was taken last
	slots [wheelSize][]int64
}

func (w *wheel) init(now int64) { w.at = now }

// schedule sets the next visit of a connection, unless an earlier one is set. due is that of the
// connection; 0 = none. A second that is too far away becomes the last slot's.
func (w *wheel) schedule(fd int64, due *atomic.Int64, second int64) {
	if set := due.Load(); set != 0 && set <= second {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	second = min(max(second, w.at+1), w.at+wheelSize-1)
	if set := due.Load(); set != 0 && set <= second {
		return
	}
	due.Store(second)
	w.slots[second%wheelSize] = append(w.slots[second%wheelSize], fd)
}

// take returns the connections of the next second, up to now. ok is false if there is none.
func (w *wheel) take(now int64) (second int64, fds []int64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at >= now {
		return 0, nil, false
	}
	w.at++
	slot := &w.slots[w.at%wheelSize]
	fds, *slot = *slot, nil
	return w.at, fds, true
}

// visit reports whether a connection's visit is that of this second, and unsets it.
func (w *wheel) visit(due *atomic.Int64, second int64) bool {
	return due.CompareAndSwap(second, 0)
}
