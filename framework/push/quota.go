package push

import (
	"sync"
	"time"
)

// quota bounds what a caller's Idempotency-Keys take in the Store: the bytes that were put there in the last onceTime. It
// counts by the minute. Requests that run side by side may pass the bound by one answer each.
type quota struct {
	max int // bytes; 0 = any

	mu      sync.Mutex
	minute  int64 // of the newest slot
	minutes [onceTime/time.Minute + 1]int
	used    int
}

// left tells whether more may be kept.
func (q *quota) left(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn(now)
	return q.max == 0 || q.used < q.max
}

func (q *quota) add(now time.Time, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn(now)
	q.used += n
	q.minutes[q.minute%int64(len(q.minutes))] += n
}

// turn forgets the minutes that are over. q.mu is held.
func (q *quota) turn(now time.Time) {
	minute := now.Unix() / 60
	q.minute = max(q.minute, minute-int64(len(q.minutes)))
	for q.minute < minute {
		q.minute++
		slot := &q.minutes[q.minute%int64(len(q.minutes))]
		q.used -= *slot
		*slot = 0
	}
}
