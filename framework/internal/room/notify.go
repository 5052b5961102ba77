package room

import "wsframe/framework/internal/wire"

// notices is the state of notifying new members of the room's newest position, so that these can
// come back to it before anything is published.
type notices struct {
	origin Position // offset 0 of the epoch, in a room that has kept nothing so far
	asked  bool     // a SetPosition is on its way
	wanted bool     // members are notified of the origin, too
}

// JoinNotified is Join that also sends the member the newest position of the room's history, in the
// frame that notice makes. The member gets everything that is published beyond that position.
//
// The notice is sent at once where the position is known, else by SetPosition. ask tells that the
// caller has to see to that call. A room that has kept nothing notifies only if want was true for
// a member.
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
			_ = m.outbox.Send(notice(at)) // the close path of a slow or closed member deals with the error
		case n.origin.Epoch == "":
			ask, n.asked = !n.asked, true
		}
	})
	return fresh, ask, err
}

// SetPosition sets the newest position of the room's history, in the order of the pushes, and
// notifies the members that wait for it. It does nothing after a push that is kept, which says
// the same.
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

// NoPosition tells that SetPosition will not be called. The member that joins next asks again.
func (rs *Rooms) NoPosition(name string) {
	if r := rs.room(name); r != nil {
		r.mu.Lock()
		r.notices.asked = false
		r.mu.Unlock()
	}
}
