package room

import (
	"sync"
	"time"

	"wsframe/framework/internal/wire"
)

// Room is one room's members, and what waits to be written to all of them.
type Room struct {
	name     string
	cfg      *Config
	everyone bool // its members are Config.Everyone, and are not listed

	mu      sync.Mutex
	members roster
	pending pending
	written written
	newest  Position // what was published last
	given   Position // nothing up to it comes again: it was missed, and given from the history
	notices notices  // to members that have joined, of the newest position
	held    *Hold    // non-nil: what is published is kept back

	since    time.Time     // when the first of pending was published
	sending  bool          // a fan-out runs, or a tick is armed: it will take what is pending
	taken    *sync.Cond    // signalled when pending was taken
	finished *sync.Cond    // signalled when a fan-out has ended
	fanOuts  int           // that have ended
	busy     time.Time     // of the last publish
	interval time.Duration // average time between publishes, cfg.quiet at most
}

func newRoom(name string, cfg *Config) *Room {
	r := &Room{name: name, cfg: cfg, interval: cfg.quiet(), members: roster{seats: map[*Member]seat{}}}
	r.taken, r.finished = sync.NewCond(&r.mu), sync.NewCond(&r.mu)
	return r
}

// quiet is where more time between publishes makes no difference: so a few quick ones make a room busy.
func (c *Config) quiet() time.Duration { return 4 * max(c.Flush, 0) }

// maxPending bounds what a room collects during one fan-out, and half an outbox does: a tick must fit into that of each member who has
// taken the one before. Publishers wait beyond it, for that fan-out only, which never blocks.
const maxPending = 256 << 10

// full tells whether f must wait for the next tick. r.mu is held.
func (r *Room) full(f wire.Frame) bool {
	p, cfg := &r.pending, r.cfg
	return len(p.list) > 0 && (p.bytes+len(f.Bytes) > min(maxPending, cfg.OutboxBytes/2) || p.frames+f.Count > cfg.OutboxMessages/2)
}

// publish writes f to the members, or collects it for the tick, and returns how many they are.
func (r *Room) publish(f wire.Frame) int {
	now := time.Now()
	r.mu.Lock()
	for r.held == nil && r.full(f) {
		r.taken.Wait()
	}
	n := len(r.members.list)
	if r.everyone {
		n = r.cfg.Count()
	}
	if !r.passes(f) {
		r.mu.Unlock()
		return n
	}
	r.interval = (r.interval*7 + min(now.Sub(r.busy), r.cfg.quiet())) / 8
	r.busy = now
	if len(r.pending.list) == 0 {
		r.since = now
	}
	if r.sending {
		r.pending.add(f)
		r.mu.Unlock()
		return n
	}
	r.sending = true
	if tick := r.cfg.Flush; tick > 0 && r.interval < 2*tick && n > 1 {
		r.pending.add(f)
		r.mu.Unlock()
		time.AfterFunc(tick, r.flush)
		return n
	}
	members, list := r.snapshot(), []segment{{Frame: f}}
	r.written.note(list)
	r.mu.Unlock()
	if n > inlineMembers {
		go r.fanOut(members, list)
		return n
	}
	r.fanOut(members, list)
	return n
}

// passes tells whether f is to be written to the members now, and notes its position. r.mu is held.
func (r *Room) passes(f wire.Frame) bool {
	switch {
	case r.held != nil:
		r.held.keep(f)
		return false
	case !f.Kept():
		return true
	case r.given.covers(f):
		return false
	}
	r.given, r.newest = Position{}, PositionOf(f)
	return true
}

// snapshot is the members as an immutable slice. r.mu is held.
func (r *Room) snapshot() []*Member {
	if r.everyone {
		return r.cfg.Everyone()
	}
	return r.members.snapshot()
}
