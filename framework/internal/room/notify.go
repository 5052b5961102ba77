package room

import "wsframe/framework/internal/wire"

// notices are about members that are notified of the room's newest position, so that they know where they stand while nothing is
// published.
type notices struct {
	origin Position // of a room in which nothing was kept yet: offset 0 of that epoch
	asked  bool     // SetPosition is on its way
	wanted bool     // some member is notified of an origin, too
}

// JoinNotified is Join that also sends the member the newest position of the room's history, as a frame that notice makes: what is
// published beyond comes to it.
//
// It is sent at once where the position is known. Otherwise SetPosition sends it; ask tells that the caller is to see to that call. Of
// a room in which nothing was kept, only members are notified that want it.
func (m *Member) JoinNotified(room string, want bool, notice func(Position) wire.Frame) (fresh, ask bool, err error) {
	fresh, err = m.join(room, func(r *Room) {
		n := &r.notices
		n.wanted = n.wanted || want
		at := r.newest
		if at.Offset == 0 && n.wanted {
			at = n.origin
		}
		switch {
		case at.Epoch != "":
			_ = m.outbox.Send(notice(at)) // slow or gone: its close path is running
		case n.origin.Epoch == "":
			ask, n.asked = !n.asked, true
		}
	})
	return fresh, ask, err
}

// SetPosition takes the newest position of the room's history, in the order of what is published, and notifies those who have come
// meanwhile. A push that came before has notified them.
func (rs *Rooms) SetPosition(name string, p Position, notice func(Position) wire.Frame) {
	r := rs.room(name)
	if r == nil {
		return
	}
	r.mu.Lock()
	notify := r.newest.Offset == 0 && (p.Offset > 0 || r.notices.wanted) && r.held == nil
	r.notices.asked = false
	switch {
	case r.newest.Offset > 0:
	case p.Offset > 0:
		r.newest = p
	default:
		r.notices.origin = p
	}
	r.mu.Unlock()
	if notify {
		r.publish(notice(p))
	}
}

// NoPosition tells that SetPosition will not come: the member that joins next has to ask.
func (rs *Rooms) NoPosition(name string) {
	if r := rs.room(name); r != nil {
		r.mu.Lock()
		r.notices.asked = false
		r.mu.Unlock()
	}
}
