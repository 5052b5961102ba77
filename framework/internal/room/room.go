package room

import (
	"sync"
	"time"

	"wsframe/framework/internal/wire"
)

// Room is the members of one room, and the frames that wait to be written to all of them.
type Room struct {
	name     string
	cfg      *Config
	everyone bool // the members are Config.Everyone's, and are not in the roster

	mu      sync.Mutex
	members roster
	pending pending
	written written
	newest  Position // of the last push that was published
	given   Position // pushes up to it came from the history, and are not published again
	notices notices
	held    *Hold // non-nil: what is published is held back

	since    time.Time     // time of the oldest publish in pending
	sending  bool          // a fan-out runs, or a tick is armed that writes what is pending
	writing  bool          // a fan-out runs
	taken    *sync.Cond    // signalled when pending has become empty
	finished *sync.Cond    // signalled at the end of each fan-out
	fanOuts  int           // number of fan-outs that have ended
	busy     time.Time     // time of the last publish
	interval time.Duration // average time between publishes, cfg.quiet at most
}

func newRoom(name string, cfg *Config) *Room {
	r := &Room{name: name, cfg: cfg, interval: cfg.quiet(), members: roster{seats: map[*Member]seat{}}}
	r.taken, r.finished = sync.NewCond(&r.mu), sync.NewCond(&r.mu)
	return r
}

// quiet bounds the times between publishes that are averaged, so that a few quick publishes make
// a room busy.
func (c *Config) quiet() time.Duration { return 4 * max(c.Flush, 0) }

// maxPending bounds the bytes that a room collects during one fan-out. Half an outbox bounds
// them, too: a tick must fit into the outbox of each member that has taken the one before. Beyond
// that publishers wait for the running fan-out, which never blocks.
const maxPending = 256 << 10

// full tells whether f must wait for the next tick. r.mu is held.
func (r *Room) full(f wire.Frame) bool {
	p, cfg := &r.pending, r.cfg
	return len(p.list) > 0 && (p.bytes+len(f.Bytes) > min(maxPending, cfg.OutboxBytes/2) || p.frames+f.Count > cfg.OutboxMessages/2)
}

// publish writes f to the members, or collects it for the next tick, and returns the number of
// members.
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
	r.writing = true
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
