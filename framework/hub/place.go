package hub

import "wsframe/framework/internal/wire"

// place is what a room knows of its history's newest position, for members that come while nothing is published.
type place struct {
	origin Mark // of a room in which nothing was kept yet
	asked  bool // Placed is on its way
	wanted bool // a member is told of an origin, too
}

// JoinPlaced is Join that has the connection told where the room's history stands: what is published beyond comes to it. Where that is
// known it is told at once, else by Placed, which is to be called then (ask). Of a room in which nothing was kept only those are told
// who want it.
func (h *Hub) JoinPlaced(c *Conn, name string, want bool, tell func(Mark) wire.Frame) (fresh, ask bool, err error) {
	fresh, err = h.join(c, name, func(r *Room) {
		r.place.wanted = r.place.wanted || want
		at := r.reached
		if at.Offset == 0 && r.place.wanted {
			at = r.place.origin
		}
		switch {
		case at.Epoch != "":
			_ = c.Send(tell(at)) // slow or gone: its close path is running
		case r.place.origin.Epoch == "":
			ask, r.place.asked = !r.place.asked, true
		}
	})
	return fresh, ask, err
}

// Placed takes where the room's history stands, in the order of what is published, and tells those who have come meanwhile. A push
// that came before has told them.
func (h *Hub) Placed(name string, m Mark, tell func(Mark) wire.Frame) {
	r := h.room(name)
	if r == nil {
		return
	}
	r.mu.Lock()
	told := r.reached.Offset == 0 && (m.Offset > 0 || r.place.wanted) && r.held == nil
	r.place.asked = false
	switch {
	case r.reached.Offset > 0:
	case m.Offset > 0:
		r.reached = m
	default:
		r.place.origin = m
	}
	r.mu.Unlock()
	if told {
		r.publish(tell(m))
	}
}

// Unplaced tells that Placed will not come: who joins next has to ask.
func (h *Hub) Unplaced(name string) {
	if r := h.room(name); r != nil {
		r.mu.Lock()
		r.place.asked = false
		r.mu.Unlock()
	}
}
