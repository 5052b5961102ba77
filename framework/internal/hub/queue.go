package hub

import (
	"net"
	"slices"

	"wsframe/framework/internal/wire"
)

// chunkSize is the space taken for small frames that wait together, in bytes.
const chunkSize = 2 << 10

// heldFactor multiplies the limits of a queue while it is held.
const heldFactor = 8

// load is an amount of frames.
type load struct{ bytes, frames int }

func (l load) plus(bytes, frames int) load { return load{l.bytes + bytes, l.frames + frames} }

func (l load) fits(limit load) bool { return l.bytes <= limit.bytes && l.frames <= limit.frames }

func (l load) atMost(limit load) load {
	return load{min(l.bytes, limit.bytes), min(l.frames, limit.frames)}
}

// chunk is a run of complete frames. The first chunk of a queue may be partly written.
type chunk struct {
	b     []byte
	n     int            // frames
	owned bool           // b is not shared, so frames may be appended
	x     *wire.Handling // nil = never dropped
}

// queue holds the frames that wait to be written to one connection, in order.
type queue struct {
	chunks []chunk
	load         // of chunks, and of dequeued ones until they are written
	held   bool  // nothing is written during a move
	holds  int32 // how often held was set by a freeze
	extra  load  // the part of load that came during a hold
}

// add appends frames. With shared, b is immutable and may be retained; without, it is copied.
func (q *queue) add(b []byte, frames int, shared bool, x *wire.Handling) {
	q.load = q.plus(len(b), frames)
	if q.held {
		q.extra = q.extra.plus(len(b), frames)
	}
	if shared {
		q.chunks = append(q.chunks, chunk{b: b, n: frames, x: x})
		return
	}
	if last := len(q.chunks) - 1; last >= 0 {
		if k := &q.chunks[last]; k.owned && cap(k.b)-len(k.b) >= len(b) {
			k.b, k.n = append(k.b, b...), k.n+frames
			return
		}
	}
	q.chunks = append(q.chunks, chunk{b: append(make([]byte, 0, max(chunkSize, len(b))), b...), n: frames, owned: true})
}

// limit returns the limit that applies now to a configured limit. Frames that came during a hold do
// not make the peer a slow one, so they are allowed in addition.
func (q *queue) limit(l load) load {
	if q.held {
		return load{heldFactor * l.bytes, heldFactor * l.frames}
	}
	return l.plus(q.extra.bytes, q.extra.frames)
}

// makeRoom drops droppable frames, the oldest first, until so much more fits below the limit. It
// returns whether it fits, and how many frames were dropped.
func (q *queue) makeRoom(bytes, frames int, limit load) (ok bool, dropped int) {
	fits := func() bool { return q.plus(bytes, frames).fits(limit) }
	kept := q.chunks[:0]
	for _, k := range q.chunks {
		if fits() || !k.x.Droppable() {
			kept = append(kept, k)
			continue
		}
		q.load = q.plus(-len(k.b), -k.n)
		dropped += k.n
	}
	clear(q.chunks[len(kept):])
	q.chunks = kept
	return fits(), dropped
}

// replace replaces a waiting frame of the class Latest and the same key. It returns false if there
// is none.
func (q *queue) replace(b []byte, frames int, x *wire.Handling) bool {
	for i := range q.chunks {
		k := &q.chunks[i]
		if k.x != nil && k.x.Class == wire.Latest && k.x.Key == x.Key {
			q.load = q.plus(len(b)-len(k.b), frames-k.n)
			k.b, k.n, k.x = b, frames, x
			return true
		}
	}
	return false
}

// dequeue removes up to 64 KiB or 64 chunks from the front, and appends them to bufs. They stay
// part of load until they are written.
func (q *queue) dequeue(bufs net.Buffers) (net.Buffers, []chunk) {
	size, i := 0, 0
	for i < len(q.chunks) && i < 64 && size < 64<<10 {
		bufs = append(bufs, q.chunks[i].b)
		size += len(q.chunks[i].b)
		i++
	}
	taken := q.chunks[:i:i]
	if i == len(q.chunks) {
		q.chunks = nil
	} else {
		q.chunks = q.chunks[i:]
	}
	return bufs, taken
}

// putBack puts dequeued chunks back of which the kernel has accepted only so many bytes.
func (q *queue) putBack(taken []chunk, written int) {
	for len(taken) > 0 && written >= len(taken[0].b) {
		written -= len(taken[0].b)
		q.frames = max(0, q.frames-taken[0].n)
		taken = taken[1:]
	}
	if len(taken) == 0 {
		return
	}
	q.chunks = append(slices.Clone(taken), q.chunks...)
	q.begin(written)
}

// begin removes so many written bytes from the first chunk, which can then neither be dropped nor
// replaced.
func (q *queue) begin(written int) {
	if written > 0 {
		first := &q.chunks[0]
		first.b, first.x = first.b[written:], nil
	}
}

// take removes the packets of text frames from the front: at least one, and as many as fit into so
// many bytes. A close frame is the packet Close of Engine.IO. All chunks are whole frames.
func (q *queue) take(bytes int) (packets [][]byte) {
	for len(q.chunks) > 0 {
		k := &q.chunks[0]
		size, n := 0, 0
		for f := range wire.Payloads(k.b) {
			packet := f.Payload
			if f.Op == wire.OpClose {
				packet = []byte{'1'}
			}
			if bytes -= len(packet); bytes < 0 && len(packets) > 0 {
				break
			}
			packets = append(packets, packet)
			size, n = size+f.Size, n+1
		}
		n = min(n, k.n) // control packets do not count
		if size < len(k.b) {
			k.b, k.n = k.b[size:], k.n-n
		} else {
			n, q.chunks = k.n, q.chunks[1:]
		}
		q.load = q.plus(-size, -n)
		if bytes < 0 {
			break
		}
	}
	if len(q.chunks) == 0 {
		q.chunks = nil
	}
	q.extra = q.extra.atMost(q.load)
	return packets
}

func (q *queue) drop() { q.chunks, q.load, q.extra = nil, load{}, load{} }

func (q *queue) hold() {
	q.held = true
	q.holds++
}

// export adds the waiting frames to the state.
func (q *queue) export(s *State) {
	droppable := false
	for _, k := range q.chunks {
		s.Out = append(s.Out, k.b...)
		s.Frames += k.n
		droppable = droppable || k.x.Droppable()
	}
	if !droppable {
		return
	}
	for _, k := range q.chunks {
		cut := Cut{Bytes: len(k.b), Frames: k.n}
		if k.x != nil {
			cut.Class, cut.Key = k.x.Class, k.x.Key
		}
		s.Cuts = append(s.Cuts, cut)
	}
}

// restore queues the frames that export has added. limit is the configured one; up to it they are
// treated as if they had come during the move, since that is not known.
func (q *queue) restore(s *State, limit load) {
	if len(s.Out) == 0 {
		return
	}
	q.load = load{len(s.Out), s.Frames}
	q.extra = q.load.atMost(limit)
	if len(s.Cuts) == 0 {
		q.chunks = []chunk{{b: s.Out, n: s.Frames, owned: true}}
		return
	}
	b := s.Out
	for _, cut := range s.Cuts {
		k := chunk{b: b[:cut.Bytes:cut.Bytes], n: cut.Frames}
		if cut.Class != wire.NeverDrop {
			k.x = &wire.Handling{Class: cut.Class, Key: cut.Key}
		}
		q.chunks, b = append(q.chunks, k), b[cut.Bytes:]
	}
}
