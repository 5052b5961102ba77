package hub

import "wsframe/framework/internal/wire"

// Hold keeps back what is published to a room, while what its members missed is read: pushes between nodes that were gone before they
// came here.
type Hold struct {
	// From is the last position that the members have got, or are to get.
	From Mark

	// Guarded by the Room's mu.
	room  *Room
	kept  []wire.Frame
	bytes int
}

// Hold begins one. It is nil where nothing can be given: nobody is in the room, no position in its history is known here, or one runs.
// End must follow.
func (h *Hub) Hold(name string) *Hold {
	r := h.room(name)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	from, members := r.reached, r.snapshot()
	r.mu.Unlock()
	if from.Offset == 0 {
		from = marked(members, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reached.Offset > 0 {
		from = r.reached
	}
	if r.held != nil || from.Offset == 0 {
		return nil
	}
	r.held = &Hold{From: from, room: r}
	return r.held
}

// marked is the lowest position of members that came back to a room in which nothing was published since.
func marked(members []*Conn, room string) (lowest Mark) {
	for _, c := range members {
		if c.catchingUp.Load() == 0 {
			continue
		}
		c.memberMu.Lock()
		if u := c.behindIn(room); u != nil && u.until.Offset > 0 && (lowest.Offset == 0 || u.until.Offset < lowest.Offset) {
			lowest = u.until
		}
		c.memberMu.Unlock()
	}
	return lowest
}

// First is the first position that is kept back; zero = none is.
func (o *Hold) First() Mark {
	o.room.mu.Lock()
	defer o.room.mu.Unlock()
	for _, f := range o.kept {
		if f.Kept() {
			return Mark{f.Handling.Offset, f.Handling.Epoch}
		}
	}
	return Mark{}
}

// Bytes is the size of what is kept back.
func (o *Hold) Bytes() int {
	o.room.mu.Lock()
	defer o.room.mu.Unlock()
	return o.bytes
}

// End publishes what was missed, then what was kept back beyond until. What lies up to until does not come again. The second call does
// nothing.
func (o *Hold) End(missed []wire.Frame, until Mark) {
	r := o.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != o {
		return
	}
	r.held = nil
	for _, f := range missed {
		if r.passes(f) {
			r.collect(f)
		}
	}
	if until.Offset > 0 {
		r.until = until
		if r.reached.Epoch != until.Epoch || r.reached.Offset < until.Offset {
			r.reached = until
		}
	}
	for _, f := range o.kept {
		if r.passes(f) {
			r.collect(f)
		}
	}
	o.kept = nil
	if len(r.pending) > 0 && !r.sending {
		r.sending = true
		go r.flush()
	}
}

// passes tells whether f is to be written to the members now, and notes its position. r.mu is held.
func (r *Room) passes(f wire.Frame) bool {
	switch {
	case r.held != nil:
		r.held.kept = append(r.held.kept, f)
		r.held.bytes += f.Len()
		return false
	case !f.Kept():
		return true
	case r.until.covers(f):
		return false
	}
	r.until, r.reached = Mark{}, Mark{f.Handling.Offset, f.Handling.Epoch}
	return true
}

// given is the position up to which nothing comes again.
func (r *Room) given() Mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until
}

// Jumps tells whether positions lie between what was published to the room last and m.
func (h *Hub) Jumps(name string, m Mark) bool {
	r := h.room(name)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held == nil && r.reached.Offset > 0 && r.reached.Epoch == m.Epoch && m.Offset > r.reached.Offset+1
}
