package room

import "slices"

// roster is the members of a room.
type roster struct {
	list   []*Member // in no order
	seats  map[*Member]seat
	shared []*Member // an immutable copy of list for fan-outs; nil when members have changed
}

func (r *roster) add(m *Member, w *written) {
	r.seats[m] = seat{int32(len(r.list)), w.epochs, w.last}
	r.list = append(r.list, m)
	r.shared = nil
}

func (r *roster) remove(m *Member) {
	at, ok := r.seats[m]
	if !ok {
		return
	}
	last := len(r.list) - 1
	moved := r.list[last]
	seat := r.seats[moved]
	seat.index = at.index
	r.list[at.index], r.seats[moved] = moved, seat
	r.list[last] = nil
	r.list = r.list[:last]
	delete(r.seats, m)
	r.shared = nil
}

// snapshot is the members as an immutable slice.
func (r *roster) snapshot() []*Member {
	if r.shared == nil {
		r.shared = slices.Clone(r.list)
	}
	return r.shared
}
