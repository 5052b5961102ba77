package hub

import (
	"encoding/binary"
	"slices"
)

// Headroom is the space that TextFrame's in-place form needs before the payload: the longest server header.
const Headroom = 10

const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// Frame is one or more complete encoded server frames (RFC 6455 §5.2, unmasked). It is immutable once sent: the same
// bytes may wait in many outboxes.
type Frame struct {
	b []byte
	n int       // frames in b
	x *Handling // nil: the zero Handling
}

// Class says what happens to a frame when the connection it is for is slow.
type Class uint8

const (
	NeverDrop  Class = iota // a full outbox closes the connection with 4008
	DropOldest              // frames of this class make place, the oldest first
	Latest                  // a waiting frame of the same key is replaced
)

// Handling is what a frame is to be treated like. It is immutable once its frame is sent.
type Handling struct {
	Class  Class
	Key    string  // of Latest
	Except []int64 // fds that do not get it
	Offset int64   // position in the room's history; 0 = it is not kept
	Epoch  string  // of that position
}

// With gives the frame with its handling.
func (f Frame) With(x Handling) Frame {
	f.x = &x
	return f
}

func (f Frame) excludes(fd int64) bool { return f.x != nil && slices.Contains(f.x.Except, fd) }

// droppable tells whether a frame of this handling may be lost.
func (x *Handling) droppable() bool { return x != nil && x.Class != NeverDrop }

// Len is the size on the wire in bytes.
func (f Frame) Len() int { return len(f.b) }

// TextFrame encodes payload as one text frame.
func TextFrame(payload []byte) Frame {
	b := make([]byte, Headroom, Headroom+len(payload))
	return InPlace(append(b, payload...))
}

// InPlace makes one text frame of buf[Headroom:], writing the header into the headroom: no copy. The frame owns buf.
func InPlace(buf []byte) Frame { return Frame{b: inPlace(buf), n: 1} }

// FrameLen is the size on the wire of a frame with so many bytes of payload.
func FrameLen(payload int) int {
	switch {
	case payload <= 125:
		return payload + 2
	case payload <= 0xffff:
		return payload + 4
	}
	return payload + 10
}

func inPlace(buf []byte) []byte {
	n := len(buf) - Headroom
	switch {
	case n <= 125:
		b := buf[Headroom-2:]
		b[0], b[1] = 0x80|opText, byte(n)
		return b
	case n <= 0xffff:
		b := buf[Headroom-4:]
		b[0], b[1] = 0x80|opText, 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		return b
	default:
		buf[0], buf[1] = 0x80|opText, 127
		binary.BigEndian.PutUint64(buf[2:], uint64(n))
		return buf
	}
}

// controlFrame encodes a control frame; the payload is cut to 125 bytes (RFC 6455 §5.5).
func controlFrame(op byte, payload []byte) []byte {
	if len(payload) > 125 {
		payload = payload[:125]
	}
	return append([]byte{0x80 | op, byte(len(payload))}, payload...)
}

func closeFrame(code int, reason string) []byte {
	if code == CloseNoStatus || code < 1000 {
		return controlFrame(opClose, nil)
	}
	if len(reason) > 123 {
		reason = reason[:123]
	}
	return controlFrame(opClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// header is a parsed client frame header.
type header struct {
	fin    bool
	rsv    byte
	op     byte
	masked bool
	size   int    // of the header itself
	length uint64 // of the payload
}

// parseHeader reads a frame header (RFC 6455 §5.2). ok is false while b is too short.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h.fin, h.rsv, h.op = b[0]&0x80 != 0, b[0]&0x70, b[0]&0x0f
	h.masked = b[1]&0x80 != 0
	h.size = 2
	switch l := b[1] & 0x7f; l {
	case 126:
		if len(b) < 4 {
			return h, false
		}
		h.length, h.size = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return h, false
		}
		h.length, h.size = binary.BigEndian.Uint64(b[2:]), 10
	default:
		h.length = uint64(l)
	}
	if h.masked {
		h.size += 4
	}
	return h, true
}
