package room

import "wsframe/framework/internal/wire"

// Position is a place in a room's history. Offsets of one epoch can be compared.
type Position struct {
	Offset int64 // of a push, from 1 on; 0 = none
	Epoch  string
}

// PositionOf is the frame's position, the zero Position where it has none.
func PositionOf(f wire.Frame) Position {
	if !f.Kept() {
		return Position{}
	}
	return Position{Offset: f.Handling.Offset, Epoch: f.Handling.Epoch}
}

// covers tells whether f lies at the position or before it.
func (p Position) covers(f wire.Frame) bool {
	return f.Kept() && f.Handling.Offset <= p.Offset && f.Handling.Epoch == p.Epoch
}

// beyond tells whether p comes after q, or is in another epoch.
func (p Position) beyond(q Position) bool { return p.Epoch != q.Epoch || p.Offset > q.Offset }

// written is the range of positions that were written to a room's members since the room exists
// here.
type written struct {
	first, last int64 // offsets of one epoch; 0 = none
	epoch       string
	epochs      uint32 // the number of changes of the epoch
}

// seat is a member's place in its room, and the end of what was written when the member joined.
type seat struct {
	index  int32
	epochs uint32
	last   int64
}

// note adds the positions of what is written now.
func (w *written) note(list []segment) {
	for i := range list {
		list[i].each(func(f wire.Frame) {
			if !f.Kept() {
				return
			}
			if w.epoch != f.Handling.Epoch {
				w.epoch, w.first = f.Handling.Epoch, 0
				w.epochs++
			}
			if w.last = f.Handling.Offset; w.first == 0 {
				w.first = w.last
			}
		})
	}
}

// since is the first position that was written to the member of the seat.
func (w *written) since(s seat) Position {
	switch {
	case w.first == 0:
		return Position{}
	case s.last > 0 && s.epochs == w.epochs:
		return Position{s.last + 1, w.epoch}
	}
	return Position{w.first, w.epoch}
}
