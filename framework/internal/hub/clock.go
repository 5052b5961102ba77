package hub

import (
	"sync"
	"sync/atomic"
	"time"
)

// clock is the hub's own time, which passes only while this process runs and serves. Idle times,
// message times and rates use it, so clients lose nothing while the process is stopped or moves its
// connections. The base is the monotonic clock, which cannot be set.
type clock struct {
	seconds atomic.Int64 // UNIX time at the start, then advanced by tick
	lost    atomic.Int64 // nanoseconds that were not counted
	noted   atomic.Int64 // nanoseconds from start to the last note

	mu      sync.Mutex
	start   time.Time
	counted time.Duration
	late    bool // a gap was noted since the last tick
	stopped bool
}

const (
	tickTime = time.Second
	// maxTick is the longest time between two ticks of a running process.
	maxTick = tickTime + tickTime/4
)

func (k *clock) init(now time.Time) {
	k.start = now
	k.seconds.Store(now.Unix())
}

// tick advances the clock. ran is false where the process was stopped since the last tick.
func (k *clock) tick(now time.Time) (ran bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(now)
	ran = !k.late && !k.stopped
	k.late = false
	return ran
}

// note counts the time since the last note; a gap counts as one tick. mu is held.
func (k *clock) note(now time.Time) {
	at := now.Sub(k.start)
	elapsed := max(0, at-time.Duration(k.noted.Swap(int64(at))))
	switch {
	case k.stopped:
		k.lost.Add(int64(elapsed))
		return
	case elapsed > maxTick:
		k.late = true
		k.lost.Add(int64(elapsed - tickTime))
		elapsed = tickTime
	}
	before := k.counted / time.Second
	k.counted += elapsed
	k.seconds.Add(int64(k.counted/time.Second - before))
}

// lostAt returns the time that was not counted so far. It notes a gap itself, since a reader may
// run before the first tick after the gap.
func (k *clock) lostAt(now time.Time) time.Duration {
	if now.Sub(k.start)-time.Duration(k.noted.Load()) > maxTick {
		k.mu.Lock()
		k.note(now)
		k.mu.Unlock()
	}
	return time.Duration(k.lost.Load())
}

// stop stops or restarts the clock.
func (k *clock) stop(now time.Time, stopped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(now)
	k.stopped = stopped
}

// toWall converts a time of this clock into UNIX time, for another process.
func (k *clock) toWall(now time.Time, seconds int64) int64 {
	if seconds == 0 {
		return 0
	}
	return now.Unix() - (k.seconds.Load() - seconds)
}

// fromWall converts UNIX time into a time of this clock.
func (k *clock) fromWall(now time.Time, seconds int64) int64 {
	if seconds == 0 {
		return 0
	}
	return k.seconds.Load() - max(0, now.Unix()-seconds)
}
