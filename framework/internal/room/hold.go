package room

import "wsframe/framework/internal/wire"

// Hold keeps back what is published to a room, while what its members missed is read: pushes between nodes that were gone before they
// came here.
type Hold struct {
	// From is the last position that the members have got, or are to get.
	From Position

	room *Room

	// Guarded by Room.mu.
	kept  []wire.Frame
	bytes int
}

// Hold begins one. It is nil where nothing can be given: nobody is in the room, no position in its history is known here, or one runs.
// End must follow.
func (rs *Rooms) Hold(name string) *Hold {
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
	r.held = &Hold{From: from, room: r}
	return r.held
}

// lowest is the lowest position of members that came back to a room in which nothing was published since.
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

// First is the first position that is kept back; the zero Position = none is.
func (h *Hold) First() Position {
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	for _, f := range h.kept {
		if f.Kept() {
			return PositionOf(f)
		}
	}
	return Position{}
}

// Bytes is the size of what is kept back.
func (h *Hold) Bytes() int {
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	return h.bytes
}

// keep keeps one frame back. Room.mu is held.
func (h *Hold) keep(f wire.Frame) {
	h.kept = append(h.kept, f)
	h.bytes += f.Len()
}

// End publishes what was missed, then what was kept back beyond until. What lies up to until does not come again. The second call does
// nothing.
func (h *Hold) End(missed []wire.Frame, until Position) {
	r := h.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != h {
		return
	}
	r.held = nil
	for _, f := range missed {
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
