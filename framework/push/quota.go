package push

import (
	"sync"
	"time"
)

// quota bounds the bytes that a caller's Idempotency-Keys have put into the Store in the last
// onceTime.
//
// The bytes are counted by the minute. Concurrent requests may exceed the bound by one response
// each.
type quota struct {
	max int // bytes; 0 = any

	mu      sync.Mutex
	minute  int64 // of the newest slot
	minutes [onceTime/time.Minute + 1]int
	used    int
}

// hasRoom tells whether more may be kept.
func (q *quota) hasRoom(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	return q.max == 0 || q.used < q.max
}

func (q *quota) add(now time.Time, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	q.used += n
	q.minutes[q.minute%int64(len(q.minutes))] += n
}

// advance forgets the minutes before the last onceTime. q.mu is held.
func (q *quota) advance(now time.Time) {
	minute := now.Unix() / 60
	q.minute = max(q.minute, minute-int64(len(q.minutes)))
	for q.minute < minute {
		q.minute++
		slot := &q.minutes[q.minute%int64(len(q.minutes))]
		q.used -= *slot
		*slot = 0
	}
}
