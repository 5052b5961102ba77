package room

import (
	"time"

	"wsframe/framework/internal/wire"
)

// inlineMembers bounds the members to whom the publisher's own goroutine writes. Larger rooms are
// written by another goroutine, so that the publisher's reply does not wait for thousands of
// writes.
const inlineMembers = 32

// fanOut writes the segments to the members, then what was published meanwhile. The caller has set
// r.writing.
func (r *Room) fanOut(members []*Member, list []segment) {
	r.write(members, list)
	r.mu.Lock()
	r.ended()
	if len(r.pending.list) == 0 {
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

// write is the loop over the members. Its cost is one interface call for each member and segment.
func (r *Room) write(members []*Member, list []segment) {
	for _, m := range members {
		for i := range list {
			g := &list[i]
			if g.Excludes(m.FD) || m.catchingUp.Load() > 0 && m.hold(r.name, g) {
				continue
			}
			f := g.Frame
			if m.Dialect != wire.Native {
				f = g.in(m.Dialect, r.cfg.Translate)
			}
			_ = m.outbox.Send(f) // the close path of a slow or closed member deals with the error
		}
	}
}

// flush writes what is pending, as one shared buffer where that is possible. Frames that are
// published meanwhile follow a tick later.
func (r *Room) flush() {
	for {
		r.mu.Lock()
		r.wait()
		if len(r.pending.list) == 0 {
			r.sending = false
			r.finished.Broadcast()
			r.mu.Unlock()
			return
		}
		// Others may join what is younger than a tick, unless there is much already.
		if wait := r.cfg.Flush - time.Since(r.since); wait > 0 && r.pending.bytes < enough {
			r.mu.Unlock()
			time.AfterFunc(wait, r.flush)
			return
		}
		r.writePending()
		r.mu.Unlock()
	}
}

// writePending is one fan-out of what is pending. r.mu is held, but not during the writes, and no
// other fan-out runs.
func (r *Room) writePending() {
	list := r.pending.take()
	members := r.snapshot()
	r.written.note(list)
	r.writing = true
	r.taken.Broadcast()
	r.mu.Unlock()
	r.write(members, list)
	r.mu.Lock()
	r.ended()
}

// wait returns when no fan-out runs. r.mu is held.
func (r *Room) wait() {
	for r.writing {
		r.finished.Wait()
	}
}

// ended notes the end of a fan-out. r.mu is held.
func (r *Room) ended() {
	r.writing = false
	r.fanOuts++
	r.finished.Broadcast()
}

// flushNow returns when everything is written that was published before, without waiting for the
// tick. No fan-out blocks.
func (r *Room) flushNow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait()
	if len(r.pending.list) > 0 {
		r.writePending()
	}
}

// settle returns when everything is written that was published before, by the running fan-out or
// by the next one. That takes a tick at most, since no fan-out blocks.
func (r *Room) settle() {
	r.mu.Lock()
	until := r.horizon()
	r.mu.Unlock()
	r.reach(until)
}

// horizon is the number of the fan-out that writes the last of what was published before. r.mu is
// held.
func (r *Room) horizon() int {
	if len(r.pending.list) > 0 {
		return r.fanOuts + 2
	}
	return r.fanOuts + 1
}

// reach waits for the end of the fan-out with that number, or until there is nothing to write.
func (r *Room) reach(until int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.sending && r.fanOuts < until {
		r.finished.Wait()
	}
}

// after calls f when everything is written that was published to the rooms before. Where
// something is not, f runs in a goroutine of its own, after a tick and the time of the fan-outs.
func after(rooms []*Room, f func()) {
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
