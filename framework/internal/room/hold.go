package room

import "wsframe/framework/internal/wire"

// Hold keeps back what is published to a room, while the pushes are read that its members missed:
// pushes between nodes that were gone before this node could read them.
//
//	missed                  kept
//	From+1 … First()-1      First() …
//
// What is kept has no gap: the pushes before one are forgotten, and count as missed again.
type Hold struct {
	// From is the last position that the members have got, or are to get.
	From Position

	room *Room

	// Guarded by Room.mu.
	next  Position // of the push that has shown the gap, and is published next; zero: there is none
	first Position // of the first push in kept that has a position
	last  Position // of the last one
	kept  []wire.Frame
	bytes int
}

// Hold begins one. next is the position of the push that is published next, zero where that is
// not known. Hold returns nil where nothing can be given: nobody is in the room, no position in
// its history is known here, or another Hold is open.
//
// End or Fail must follow.
func (rs *Rooms) Hold(name string, next Position) *Hold {
	r := rs.room(name)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	from, members := r.newest, r.snapshot()
	r.mu.Unlock()
	if from.Offset == 0 {
		from = lowest(members, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.newest.Offset > 0 {
		from = r.newest
	}
	if r.held != nil || from.Offset == 0 {
		return nil
	}
	r.held = &Hold{From: from, room: r, next: next}
	return r.held
}

// lowest is the lowest position of members that came back to a room in which nothing was published
// since.
func lowest(members []*Member, room string) (p Position) {
	for _, m := range members {
		if m.catchingUp.Load() == 0 {
			continue
		}
		m.mu.Lock()
		if u := m.catchUp(room); u != nil && u.until.Offset > 0 && (p.Offset == 0 || u.until.Offset < p.Offset) {
			p = u.until
		}
		m.mu.Unlock()
	}
	return p
}

// First is the position from which on everything is kept; the zero Position where none is known.
func (h *Hold) First() Position {
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	return h.liveFrom()
}

// liveFrom is First. Room.mu is held.
func (h *Hold) liveFrom() Position {
	if h.first.Offset > 0 {
		return h.first
	}
	return h.next
}

// Bytes is the size of what is kept.
func (h *Hold) Bytes() int {
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	return h.bytes
}

// keep keeps one frame. Room.mu is held.
func (h *Hold) keep(f wire.Frame) {
	if p := PositionOf(f); p.Offset > 0 {
		if p.Epoch == h.last.Epoch && p.Offset > h.last.Offset+1 { // the pushes between are gone, too
			h.forget()
		}
		if h.first.Offset == 0 {
			h.first = p
		}
		h.last = p
	}
	h.kept = append(h.kept, f)
	h.bytes += f.Len()
}

// forget drops what has a position, so that it is read from the history with the rest. Room.mu is
// held.
func (h *Hold) forget() {
	plain := h.kept[:0]
	h.bytes = 0
	for _, f := range h.kept {
		if !f.Kept() {
			plain = append(plain, f)
			h.bytes += f.Len()
		}
	}
	clear(h.kept[len(plain):])
	h.kept, h.first = plain, Position{}
}

// End publishes what was missed, which reaches up to until, and then what was kept beyond it.
// Nothing up to until is published again.
//
// End does nothing and returns false where pushes between until and First are missing.
func (h *Hold) End(missed []wire.Frame, until Position) bool {
	r := h.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != h {
		return true
	}
	if first := h.liveFrom(); first.Offset > 0 && (first.Epoch != until.Epoch || first.Offset > until.Offset+1) {
		return false
	}
	h.end(missed, until)
	return true
}

// Fail publishes what was kept after a notice that the rest is lost. notice gets First, and
// returns the position up to which the notice says so: nothing up to that is published again.
// notice must not block or call this package.
//
// The second end of a Hold does nothing.
func (h *Hold) Fail(notice func(first Position) (wire.Frame, Position)) {
	r := h.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != h {
		return
	}
	f, until := notice(h.liveFrom())
	h.end([]wire.Frame{f}, until)
}

// end publishes those, and then what was kept beyond until. Room.mu is held.
func (h *Hold) end(frames []wire.Frame, until Position) {
	r := h.room
	r.held = nil
	for _, f := range frames {
		if r.passes(f) {
			r.pending.add(f)
		}
	}
	if until.Offset > 0 {
		r.given = until
		if until.beyond(r.newest) {
			r.newest = until
		}
	}
	for _, f := range h.kept {
		if r.passes(f) {
			r.pending.add(f)
		}
	}
	h.kept = nil
	if len(r.pending.list) > 0 && !r.sending {
		r.sending = true
		go r.flush()
	}
}

// Gap tells whether positions lie between what was published to the room last and p.
func (rs *Rooms) Gap(name string, p Position) bool {
	r := rs.room(name)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held == nil && r.newest.Offset > 0 && r.newest.Epoch == p.Epoch && p.Offset > r.newest.Offset+1
}
