package wire

// Dialect is how a client expects text frames. The hub's owner defines all but Native.
type Dialect uint8

// Native is the dialect in which everything is sent and shared.
const Native Dialect = 0

// In returns the frame in a dialect. translate appends the payload of a text frame of that dialect
// to dst, or returns dst where there is nothing to say. Binary frames are left out.
func (f Frame) In(d Dialect, translate func(dst, payload []byte) []byte) Frame {
	var out, buf []byte
	n := 0
	for b := range Payloads(f.Bytes) {
		if b.Op != OpText {
			continue
		}
		buf = append(buf[:0], make([]byte, Headroom)...)
		if buf = translate(buf, b.Payload); len(buf) > Headroom {
			out, n = append(out, Encode(buf, OpText)...), n+1
		}
	}
	return Frame{Bytes: out, Count: n, Handling: f.Handling, Dialect: d}
}

// ServerFrame is one frame of a Frame's bytes.
type ServerFrame struct {
	Op      byte
	Payload []byte // shares the memory of the bytes
	Size    int    // of the whole frame
}

// Payloads iterates over complete server frames.
func Payloads(b []byte) func(yield func(ServerFrame) bool) {
	return func(yield func(ServerFrame) bool) {
		for len(b) > 0 {
			h, ok := ParseHeader(b)
			if !ok || h.Length > uint64(len(b)-h.Size) {
				return // not expected: frames are written whole
			}
			size := h.Size + int(h.Length)
			if !yield(ServerFrame{h.Op, b[h.Size:size:size], size}) {
				return
			}
			b = b[size:]
		}
	}
}
