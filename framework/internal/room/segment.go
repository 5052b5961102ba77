package room

import "wsframe/framework/internal/wire"

// enough is the number of pending bytes that are written without waiting for the tick.
const enough = 32 << 10

// segment is a run of frames that leave for all members as one buffer.
type segment struct {
	wire.Frame
	owned bool         // Bytes is the segment's own, so that more may be appended
	parts []wire.Frame // the single frames, where one has a position: members that catch up need them
	told  []wire.Frame // the frame in other dialects; owned by the fan-out
}

// joins tells whether f may be appended to the segment.
func (g *segment) joins(f wire.Frame) bool {
	if len(g.Bytes) >= enough {
		return false
	}
	plain := func(h *wire.Handling) bool { return h == nil || h.Class != wire.Latest && len(h.Except) == 0 }
	class := func(h *wire.Handling) wire.Class {
		if h == nil {
			return wire.NeverDrop
		}
		return h.Class
	}
	return plain(g.Handling) && plain(f.Handling) && class(g.Handling) == class(f.Handling)
}

func (g *segment) append(f wire.Frame) {
	if !g.owned {
		g.Bytes, g.owned = append(make([]byte, 0, 4*max(len(g.Bytes), len(f.Bytes))), g.Bytes...), true
	}
	if f.Kept() || len(g.parts) > 0 {
		if len(g.parts) == 0 {
			g.parts = append(g.parts, wire.Frame{Bytes: g.Bytes[:len(g.Bytes):len(g.Bytes)], Count: g.Count, Handling: g.Handling})
		}
		g.parts = append(g.parts, f)
	}
	g.Bytes, g.Count = append(g.Bytes, f.Bytes...), g.Count+f.Count
}

// in returns the frame in a member's dialect. It is translated once for all members.
func (g *segment) in(d wire.Dialect, translate func(wire.Frame, wire.Dialect) wire.Frame) wire.Frame {
	for _, f := range g.told {
		if f.Dialect == d {
			return f
		}
	}
	f := translate(g.Frame, d)
	g.told = append(g.told, f)
	return f
}

// each calls yield for each frame.
func (g *segment) each(yield func(wire.Frame)) {
	if len(g.parts) == 0 {
		yield(g.Frame)
	}
	for _, f := range g.parts {
		yield(f)
	}
}

// pending is the frames that wait for a room's next fan-out.
type pending struct {
	list   []segment
	bytes  int
	frames int
}

func (p *pending) add(f wire.Frame) {
	p.bytes += len(f.Bytes)
	p.frames += f.Count
	if n := len(p.list) - 1; n >= 0 && p.list[n].joins(f) {
		p.list[n].append(f)
		return
	}
	p.list = append(p.list, segment{Frame: f})
}

// take returns the segments and leaves none.
func (p *pending) take() []segment {
	list := p.list
	*p = pending{}
	return list
}
