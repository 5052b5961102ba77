package hub

import (
	"sync"
	"sync/atomic"
	"time"
)

// clock is the hub's own time: it counts only while this process runs and serves. Idle times, message times and rates go by it, so
// that a process that was stopped, or that is moving its connections, holds nothing against its clients. It goes by the monotonic
// clock: nobody sets it.
type clock struct {
	seconds atomic.Int64 // as UNIX seconds from the start on; advanced by tick
	lost    atomic.Int64 // nanoseconds that did not count
	noted   atomic.Int64 // nanoseconds from start to the last note

	mu      sync.Mutex
	start   time.Time
	counted time.Duration
	late    bool // a gap was noted since the last tick
	stopped bool
}

const (
	tickTime = time.Second
	// maxTick is the longest time between two ticks of a process that runs.
	maxTick = tickTime + tickTime/4
)

func (k *clock) init(now time.Time) {
	k.start = now
	k.seconds.Store(now.Unix())
}

// tick advances the clock. It tells whether this process has run since the last one.
func (k *clock) tick(now time.Time) (ran bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(now)
	ran = !k.late && !k.stopped
	k.late = false
	return ran
}

// note counts the time since the last note, a gap as one tick. mu is held.
func (k *clock) note(now time.Time) {
	at := now.Sub(k.start)
	passed := max(0, at-time.Duration(k.noted.Swap(int64(at))))
	switch {
	case k.stopped:
		k.lost.Add(int64(passed))
		return
	case passed > maxTick:
		k.late = true
		k.lost.Add(int64(passed - tickTime))
		passed = tickTime
	}
	before := k.counted / time.Second
	k.counted += passed
	k.seconds.Add(int64(k.counted/time.Second - before))
}

// lostAt is the time that did not count so far. A reader may wake from a gap before the tick does.
func (k *clock) lostAt(now time.Time) time.Duration {
	if now.Sub(k.start)-time.Duration(k.noted.Load()) > maxTick {
		k.mu.Lock()
		k.note(now)
		k.mu.Unlock()
	}
	return time.Duration(k.lost.Load())
}

// stop has the time not count until it runs again.
func (k *clock) stop(now time.Time, stopped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(now)
	k.stopped = stopped
}

// toWall gives a time of this clock as another process's clock can read it.
func (k *clock) toWall(seconds int64) int64 {
	if seconds == 0 {
		return 0
	}
	return time.Now().Unix() - (k.seconds.Load() - seconds)
}

// fromWall is toWall's other side.
func (k *clock) fromWall(seconds int64) int64 {
	if seconds == 0 {
		return 0
	}
	return k.seconds.Load() - max(0, time.Now().Unix()-seconds)
}
