package bus

import (
	"sync"
	"time"
)

const (
	// maxNamed is how many sub-streams of a shard one XREAD names. Each costs Redis about 1 µs, so
	// that a node with more reads the stream of everything instead.
	maxNamed = 8

	// lingerTime is for how long a sub-stream is read after the last of its rooms was left.
	lingerTime = 30 * time.Second
)

// Interest is what this process has members of: the rooms whose messages it needs. It belongs to
// the process, and each of its Buses in turn reads by it. Methods are safe for concurrent use, also
// of nil, and never wait.
type Interest struct {
	lanes  int // of a shard
	shards []*interest
}

// NewInterest divides the rooms of each shard over so many sub-streams. All nodes must have the
// same numbers. With no sub-streams it is nil: everything is needed.
func NewInterest(shards, lanes int) *Interest {
	if lanes <= 0 {
		return nil
	}
	in := &Interest{lanes: lanes}
	for range shards {
		in.shards = append(in.shards, &interest{wishes: make([]wish, lanes+1)})
	}
	return in
}

// Add notes that a room has a member here. Without Bus.Want before it, the room may get messages
// that are older than that.
func (in *Interest) Add(room string) {
	if in == nil {
		return
	}
	i, lane := in.of(room)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.wishes[lane].users++
	i.early(lane)
}

// Remove undoes Add.
func (in *Interest) Remove(room string) {
	if in == nil {
		return
	}
	i, lane := in.of(room)
	i.release(lane)
}

func (in *Interest) of(room string) (*interest, int) {
	return in.shards[shardOf(room, len(in.shards))], laneOf(room, len(in.shards), in.lanes)
}

// interest is that in one shard's lanes, and how far it is satisfied. Its lock is a leaf.
type interest struct {
	mu      sync.Mutex
	wishes  []wish        // by lane; the first one is not used
	all     bool          // everything is read, from one stream
	issued  id            // nothing beyond it has been read but by reads that were begun before
	failing bool          // the last read failed
	paused  bool          // nothing reads
	begun   chan struct{} // closed when what is wanted now is read; nil = nobody waits
}

// wish is the interest in one lane.
type wish struct {
	users int       // rooms with members, and joins under way
	until time.Time // it is read at least so long
	read  bool
	since id   // where it begins, with early
	early bool // nobody waits until it is read: it begins before what is missing
}

// early has a lane that is not read begin at a position before everything that is sent from now on.
// The caller holds mu.
func (i *interest) early(lane int) {
	if w := &i.wishes[lane]; !w.read && !w.early {
		w.early, w.since = true, i.issued
	}
}

func (i *interest) release(lane int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if w := &i.wishes[lane]; w.users > 0 {
		if w.users--; w.users == 0 {
			w.until = time.Now().Add(lingerTime)
		}
	}
}

// want begins a join. wait is nil where the lane is read already. wake tells that nobody has woken
// the reader yet.
func (i *interest) want(lane int) (wait <-chan struct{}, wake bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w := &i.wishes[lane]
	w.users++
	switch {
	case w.read || w.early:
		return nil, false
	case i.failing || i.paused:
		i.early(lane)
		return nil, false
	case i.begun == nil:
		i.begun, wake = make(chan struct{}), true
	}
	return i.begun, wake
}

// giveUp ends a wait that took too long.
func (i *interest) giveUp(lane int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.early(lane)
}

// reset begins a Bus that reads from a position, and those lanes.
func (i *interest) reset(position id, read func(lane int) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all, i.issued, i.failing, i.paused = false, position, false, false
	for lane := range i.wishes {
		w := &i.wishes[lane]
		w.read, w.early = read(lane), false
		if w.users == 0 {
			w.until = time.Now().Add(lingerTime)
		} else {
			i.early(lane)
		}
	}
}

// plan decides what the next read names, and notes its position. fresh are lanes that begin with
// it.
func (i *interest) plan(position id, now time.Time) (named, fresh []int, all bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued, i.failing = position, false
	for lane := 1; lane < len(i.wishes); lane++ {
		if w := &i.wishes[lane]; w.users > 0 || w.read && now.Before(w.until) {
			named = append(named, lane)
		}
	}
	if i.all = len(named) > maxNamed || i.all && len(named) > maxNamed*3/4; i.all {
		named = named[:0]
		for lane := 1; lane < len(i.wishes); lane++ {
			named = append(named, lane)
		}
	}
	at := 0
	for lane := 1; lane < len(i.wishes); lane++ {
		w := &i.wishes[lane]
		if at == len(named) || named[at] != lane {
			w.read = false
			continue
		}
		if at++; !w.read {
			fresh = append(fresh, lane)
		}
	}
	return named, fresh, i.all
}

// begin notes that lanes are read from end on, or from where those that are early begin. It calls
// start for each.
func (i *interest) begin(fresh []int, end id, start func(lane int, since id)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, lane := range fresh {
		w, since := &i.wishes[lane], end
		if w.read {
			continue // by a fetcher of before
		}
		if w.early {
			since = w.since
		}
		w.read, w.early = true, false
		start(lane, since)
	}
}

// satisfied ends the waits for lanes that are read.
func (i *interest) satisfied() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.begun == nil {
		return
	}
	for lane := range i.wishes {
		if w := &i.wishes[lane]; w.users > 0 && !w.read && !w.early {
			return // it came meanwhile
		}
	}
	close(i.begun)
	i.begun = nil
}

// failed notes that Redis does not answer: nobody waits for it.
func (i *interest) failed() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failing = true
	i.waitNoMore()
}

// pause notes whether nothing reads at all, as during a reload.
func (i *interest) pause(so bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.paused = so; so {
		i.waitNoMore()
	}
}

// waitNoMore ends all waits. The caller holds mu.
func (i *interest) waitNoMore() {
	for lane := range i.wishes {
		if i.wishes[lane].users > 0 {
			i.early(lane)
		}
	}
	if i.begun != nil {
		close(i.begun)
		i.begun = nil
	}
}
