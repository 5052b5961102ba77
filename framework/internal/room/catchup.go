package room

import (
	"slices"

	"wsframe/framework/internal/wire"
)

// CatchUp holds pushes to a room back from one member, until the member has got what it missed.
//
// Afterwards the CatchUp remembers the position up to which the member has everything, since older
// pushes may still be on their way to this node.
type CatchUp struct {
	member *Member
	room   string

	// Guarded by Member.mu.
	keeping bool
	kept    []wire.Frame
	bytes   int
	until   Position // nothing up to it is sent again
}

// CatchUp holds back what is published to the room from now on, until End, which must follow. A
// CatchUp that begins before the member joins holds back everything. It is nil while another one
// of that room is open, which goes on.
func (m *Member) CatchUp(room string) *CatchUp {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.catchUp(room)
	switch {
	case u == nil:
		u = &CatchUp{member: m, room: room}
		m.catchUps = append(m.catchUps, u)
		m.catchingUp.Add(1)
	case u.keeping:
		return nil
	}
	u.keeping = true
	m.keeping.Add(1)
	return u
}

// End sends the missed pushes and then those that were held back beyond until, in one write.
// Nothing up to until is sent again. Nothing at all is sent to a member that has left the room
// meanwhile.
func (u *CatchUp) End(missed []wire.Frame, until Position) {
	m := u.member
	m.mu.Lock()
	defer m.mu.Unlock()
	if !u.keeping {
		return
	}
	if until.Offset > 0 && until.beyond(u.until) {
		u.until = until
	}
	all := missed
	for _, f := range u.kept {
		if !u.until.covers(f) {
			all = append(all, f)
		}
	}
	u.kept, u.bytes, u.keeping = nil, 0, false
	if len(all) > 0 {
		m.outbox.SendAll(all)
	}
	m.keeping.Add(-1)
	if u.until.Offset == 0 {
		m.forget(u)
	}
}

// Keeping tells whether a CatchUp of the member is open.
func (m *Member) Keeping() bool { return m.keeping.Load() > 0 }

// Received gives the positions up to which the member has everything, by room. It leaves out
// rooms of which no older push can still be on its way.
func (m *Member) Received() map[string]Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list map[string]Position
	note := func(room string, p Position) {
		if p.Offset == 0 {
			return
		}
		if list == nil {
			list = map[string]Position{}
		}
		list[room] = p
	}
	for _, r := range m.joined {
		r.mu.Lock()
		given := r.given
		r.mu.Unlock()
		note(r.name, given)
	}
	for _, u := range m.catchUps {
		if u.until.beyond(list[u.room]) {
			note(u.room, u.until)
		}
	}
	return list
}

// SetReceived notes that the member has everything of the room up to p. Nothing of that is sent
// again.
func (m *Member) SetReceived(room string, p Position) {
	if u := m.CatchUp(room); u != nil {
		u.End(nil, p)
	}
}

// LiveFrom is the position in the room's history from which on the member gets everything. It is
// zero where nothing was published since the member joined.
func (m *Member) LiveFrom(room string) Position {
	r := m.rooms.room(room)
	if r == nil {
		return Position{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	seat, ok := r.members.seats[m]
	if !ok {
		return Position{}
	}
	return r.written.since(seat)
}

// catchUp is the member's CatchUp of a room, or nil. m.mu is held.
func (m *Member) catchUp(room string) *CatchUp {
	if i := slices.IndexFunc(m.catchUps, func(u *CatchUp) bool { return u.room == room }); i >= 0 {
		return m.catchUps[i]
	}
	return nil
}

// forget removes a CatchUp. m.mu is held.
func (m *Member) forget(u *CatchUp) {
	i := slices.Index(m.catchUps, u)
	if i < 0 {
		return
	}
	m.catchUps = slices.Delete(m.catchUps, i, i+1)
	m.catchingUp.Add(-1)
	if u.keeping {
		u.keeping, u.kept = false, nil
		m.keeping.Add(-1)
	}
}

// hold holds a segment back, or drops the frames of it that the member has already. It tells
// whether the segment needs no write.
func (m *Member) hold(room string, g *segment) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.catchUp(room)
	if u == nil {
		return false
	}
	if u.keeping {
		if u.bytes += len(g.Bytes); u.bytes > m.rooms.cfg.OutboxBytes/4 { // missed pushes take half
			m.outbox.Close(wire.CloseSlow, "slow")
			return true
		}
		g.each(func(f wire.Frame) { u.kept = append(u.kept, f) })
		return true
	}
	beyond := false
	g.each(func(f wire.Frame) {
		if !u.until.covers(f) {
			beyond = beyond || f.Kept()
			_ = m.outbox.Send(f)
		}
	})
	if beyond { // a room's frames come in order: all later ones are new
		m.forget(u)
	}
	return true
}
