package room

import "wsframe/framework/internal/wire"

// Position is a place in a room's history. Offsets are comparable within one epoch.
type Position struct {
	Offset int64 // from 1; 0 = none
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

// written is the range of positions that were written to a room's members since the room was made here.
type written struct {
	first, last int64 // of one epoch; 0 = none
	epoch       string
	epochs      uint32 // how often the epoch has changed
}

// seat is a member's place in its room, and how far the room's writing was when it joined.
type seat struct {
	index  int32
	epochs uint32
	last   int64
}

// note adds what is written now.
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

// since is the first position written to a member who came when the range was as then.
func (w *written) since(s seat) Position {
	switch {
	case w.first == 0:
		return Position{}
	case s.last > 0 && s.epochs == w.epochs:
		return Position{s.last + 1, w.epoch}
	}
	return Position{w.first, w.epoch}
}
