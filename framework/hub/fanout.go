package hub

import (
	"slices"
	"time"

	"wsframe/framework/internal/wire"
)

// segment is what leaves for all members at once.
type segment struct {
	wire.Frame
	owned bool         // more may be appended
	parts []wire.Frame // the frames with a position, for members that are catching up
}

// joins tells whether f may be appended to the segment.
func (g *segment) joins(f wire.Frame) bool {
	if len(g.Bytes) >= enough {
		return false
	}
	plain := func(x *wire.Handling) bool { return x == nil || x.Class != wire.Latest && len(x.Except) == 0 }
	class := func(x *wire.Handling) wire.Class {
		if x == nil {
			return wire.NeverDrop
		}
		return x.Class
	}
	return plain(g.Handling) && plain(f.Handling) && class(g.Handling) == class(f.Handling)
}

func (g *segment) append(f wire.Frame) {
	if !g.owned {
		g.Bytes, g.owned = append(make([]byte, 0, 4*max(len(g.Bytes), len(f.Bytes))), g.Bytes...), true
	}
	if f.Kept() || len(g.parts) > 0 {
		if len(g.parts) == 0 {
			g.parts = append(g.parts, wire.Frame{Bytes: g.Bytes[:len(g.Bytes):len(g.Bytes)], Count: g.Count, Handling: g.Handling})
		}
		g.parts = append(g.parts, f)
	}
	g.Bytes, g.Count = append(g.Bytes, f.Bytes...), g.Count+f.Count
}

// each walks the frames.
func (g *segment) each(yield func(wire.Frame)) {
	if len(g.parts) == 0 {
		yield(g.Frame)
	}
	for _, f := range g.parts {
		yield(f)
	}
}

// collect adds f to what is pending. r.mu is held.
func (r *Room) collect(f wire.Frame) {
	r.bytes += len(f.Bytes)
	r.frames += f.Count
	if n := len(r.pending) - 1; n >= 0 && r.pending[n].joins(f) {
		r.pending[n].append(f)
		return
	}
	r.pending = append(r.pending, segment{Frame: f})
}

// note remembers what positions are written. r.mu is held, and the members are taken under the same lock.
func (r *Room) note(list []segment) {
	for i := range list {
		list[i].each(func(f wire.Frame) {
			if f.Kept() {
				if r.epoch != f.Handling.Epoch {
					r.epoch, r.first = f.Handling.Epoch, 0
					r.epochs++
				}
				if r.last = f.Handling.Offset; r.first == 0 {
					r.first = r.last
				}
			}
		})
	}
}

// maxPending bounds what a room collects during one fan-out, and half an outbox does: a tick must fit into that of each member who has
// taken the one before. Publishers wait beyond it, for that fan-out only, which never blocks.
const maxPending = 256 << 10

// full tells whether f must wait for the next tick. r.mu is held.
func (r *Room) full(f wire.Frame) bool {
	cfg := &r.hub.cfg
	return len(r.pending) > 0 && (r.bytes+len(f.Bytes) > min(maxPending, cfg.OutboxBytes/2) || r.frames+f.Count > cfg.OutboxMessages/2)
}

// enough is what is written without waiting for the tick.
const enough = 32 << 10

// Publish sends the frame to every local member of the room and returns how many there are. All members get the frames of
// a room in one order. It costs no wait in a quiet room; in one whose fan-out is behind by 256 KiB the caller waits for
// the running fan-out.
func (h *Hub) Publish(name string, f wire.Frame) int {
	r := h.room(name)
	if r == nil {
		return 0
	}
	return r.publish(f)
}

// inlineMembers is up to how many members the publisher's own goroutine writes to; more are written by another, so that
// the publisher's own reply does not wait for thousands of writes.
const inlineMembers = 32

// longGap is where more time between publishes makes no difference: so a few quick ones make a room busy.
func (h *Hub) longGap() time.Duration { return 4 * max(h.cfg.RoomFlush, 0) }

func (r *Room) publish(f wire.Frame) int {
	now := time.Now()
	r.mu.Lock()
	for r.held == nil && r.full(f) {
		r.taken.Wait()
	}
	n := len(r.members)
	if r.everyone {
		n = r.hub.Len()
	}
	if !r.passes(f) {
		r.mu.Unlock()
		return n
	}
	r.gap = (r.gap*7 + min(now.Sub(r.busy), r.hub.longGap())) / 8
	r.busy = now
	if len(r.pending) == 0 {
		r.since = now
	}
	if r.sending {
		r.collect(f)
		r.mu.Unlock()
		return n
	}
	r.sending = true
	if tick := r.hub.cfg.RoomFlush; tick > 0 && r.gap < 2*tick && n > 1 {
		r.collect(f)
		r.mu.Unlock()
		time.AfterFunc(tick, r.flush)
		return n
	}
	members, list := r.snapshot(), []segment{{Frame: f}}
	r.note(list)
	r.mu.Unlock()
	if n > inlineMembers {
		go r.fanOut(members, list)
		return n
	}
	r.fanOut(members, list)
	return n
}

// fanOut writes the segments to the members, then what was published meanwhile.
func (r *Room) fanOut(members []*Conn, list []segment) {
	r.write(members, list)
	r.mu.Lock()
	r.ended()
	if len(r.pending) == 0 {
		r.sending = false
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	if len(members) > inlineMembers {
		r.flush()
		return
	}
	go r.flush()
}

func (r *Room) write(members []*Conn, list []segment) {
	for _, c := range members {
		for i := range list {
			g := &list[i]
			if g.Excludes(c.FD) || c.catchingUp.Load() > 0 && c.hold(r.name, g) {
				continue
			}
			_ = c.Send(g.Frame) // a member that is slow or gone is its own close path's business
		}
	}
}

// flush writes what is pending, as one shared buffer where it can be, and what came meanwhile a tick later.
func (r *Room) flush() {
	for {
		r.mu.Lock()
		if len(r.pending) == 0 {
			r.sending = false
			r.written.Broadcast()
			r.mu.Unlock()
			return
		}
		// What is younger than a tick has time for company, unless it is much already.
		if wait := r.hub.cfg.RoomFlush - time.Since(r.since); wait > 0 && r.bytes < enough {
			r.mu.Unlock()
			time.AfterFunc(wait, r.flush)
			return
		}
		list := r.pending
		r.pending, r.bytes, r.frames = nil, 0, 0
		members := r.snapshot()
		r.note(list)
		r.taken.Broadcast()
		r.mu.Unlock()
		r.write(members, list)
		r.mu.Lock()
		r.ended()
		r.mu.Unlock()
	}
}

// ended notes the end of a fan-out. r.mu is held.
func (r *Room) ended() {
	r.fanOuts++
	r.written.Broadcast()
}

// settle returns when everything is written that was published before: by the fan-out that runs, and the next one. That takes a
// tick at most, and no fan-out blocks.
func (r *Room) settle() {
	r.mu.Lock()
	until := r.horizon()
	r.mu.Unlock()
	r.reach(until)
}

// horizon is the fan-out by which everything is written that was published before. r.mu is held.
func (r *Room) horizon() int {
	if len(r.pending) > 0 {
		return r.fanOuts + 2
	}
	return r.fanOuts + 1
}

// reach waits for the end of that fan-out, or until there is nothing to write.
func (r *Room) reach(until int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.sending && r.fanOuts < until {
		r.written.Wait()
	}
}

// behind calls f when everything is written that was published to the rooms before: at once where that is so, else in a goroutine of
// its own, after a tick and what their fan-outs take.
func behind(rooms []*Room, f func()) {
	type wait struct {
		room  *Room
		until int
	}
	var waits []wait
	for _, r := range rooms {
		r.mu.Lock()
		if r.sending {
			waits = append(waits, wait{r, r.horizon()})
		}
		r.mu.Unlock()
	}
	if len(waits) == 0 {
		f()
		return
	}
	go func() {
		for _, w := range waits {
			w.room.reach(w.until)
		}
		f()
	}()
}

// Behind calls f when the members' outboxes have what was published to the room before. It returns at once.
func (h *Hub) Behind(name string, f func()) {
	var rooms []*Room
	if r := h.room(name); r != nil {
		rooms = append(rooms, r)
	}
	behind(rooms, f)
}

func (c *Conn) settleRooms() {
	for _, r := range c.memberships() {
		r.settle()
	}
}

// SettleRooms returns when the members' outboxes have everything that was published before.
func (h *Hub) SettleRooms() {
	rooms := []*Room{h.everyone}
	for i := range h.rooms {
		s := &h.rooms[i]
		s.mu.Lock()
		for _, r := range s.rooms {
			rooms = append(rooms, r)
		}
		s.mu.Unlock()
	}
	for _, r := range rooms {
		r.settle()
	}
}

// snapshot is the members as an immutable slice. r.mu is held.
func (r *Room) snapshot() []*Conn {
	if r.everyone {
		return r.hub.all()
	}
	if r.shared == nil {
		r.shared = slices.Clone(r.members)
	}
	return r.shared
}
