// Package wire encodes and reads WebSocket frames (RFC 6455 §5), and names this server's close
// codes.
//
// The hub reads client frames and sends server frames with it. Package room and those above encode
// a message once and share the Frame between all its receivers. The package needs no socket and no
// clock.
//
//	f := wire.TextFrame([]byte(`{"event":"hello"}`)) // for any number of connections
//	f = f.With(wire.Handling{Class: wire.Latest, Key: "price"})
//
// All functions are safe for concurrent use. A Frame is immutable once it is sent.
package wire

import (
	"encoding/binary"
	"slices"
)

// Headroom is the space before a payload that InPlace needs: the longest header of a server frame,
// in bytes.
const Headroom = 10

// MaxControl is the longest payload of a control frame in bytes (RFC 6455 §5.5).
const MaxControl = 125

// Opcodes of RFC 6455 §5.2. Those from OpClose on are control frames.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xA
)

// Final is the FIN bit in the first byte of a header.
const Final = 0x80

// Frame is one or more complete encoded server frames (RFC 6455 §5.2, unmasked). It is immutable
// once sent, since the same bytes may wait in many outboxes.
type Frame struct {
	Bytes    []byte
	Count    int       // frames in Bytes
	Handling *Handling // nil: the zero Handling
	Dialect  Dialect   // of its text frames
}

// Class is what happens to a frame when its connection is slow.
type Class uint8

// Classes of frames.
const (
	NeverDrop  Class = iota // a full outbox closes the connection with 4008
	DropOldest              // frames of this class are dropped from a full outbox, the oldest first
	Latest                  // the frame replaces a waiting one of the same key
)

// Handling holds how a frame is delivered. It is immutable once its frame is sent.
type Handling struct {
	Class  Class
	Key    string  // which frames of the class Latest replace each other
	Except []int64 // fds that do not get the frame
	Offset int64   // position in the room's history; 0 = not kept
	Epoch  string  // epoch of Offset
}

// With returns the frame with the handling.
func (f Frame) With(h Handling) Frame {
	f.Handling = &h
	return f
}

// Excludes reports whether the connection fd must not get the frame.
func (f Frame) Excludes(fd int64) bool {
	return f.Handling != nil && slices.Contains(f.Handling.Except, fd)
}

// Kept reports whether the frame has a position in a room's history.
func (f Frame) Kept() bool { return f.Handling != nil && f.Handling.Offset > 0 }

// Len returns the size on the wire in bytes.
func (f Frame) Len() int { return len(f.Bytes) }

// Droppable reports whether frames of this handling may be dropped; nil is the zero Handling.
func (h *Handling) Droppable() bool { return h != nil && h.Class != NeverDrop }

// TextFrame encodes payload as one text frame.
func TextFrame(payload []byte) Frame {
	b := make([]byte, Headroom, Headroom+len(payload))
	return InPlace(append(b, payload...))
}

// InPlace makes one text frame of buf[Headroom:] without a copy, by writing the header into the
// headroom. The frame owns buf.
func InPlace(buf []byte) Frame { return Frame{Bytes: Encode(buf, OpText), Count: 1} }

// Encode makes one frame of buf[Headroom:] in the same memory, and returns the frame's part of buf.
func Encode(buf []byte, op byte) []byte {
	n := len(buf) - Headroom
	switch {
	case n <= MaxControl:
		b := buf[Headroom-2:]
		b[0], b[1] = Final|op, byte(n)
		return b
	case n <= 0xffff:
		b := buf[Headroom-4:]
		b[0], b[1] = Final|op, 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		return b
	default:
		buf[0], buf[1] = Final|op, 127
		binary.BigEndian.PutUint64(buf[2:], uint64(n))
		return buf
	}
}

// FrameLen returns the size on the wire, in bytes, of a server frame with so many bytes of payload.
func FrameLen(payload int) int {
	switch {
	case payload <= MaxControl:
		return payload + 2
	case payload <= 0xffff:
		return payload + 4
	}
	return payload + 10
}

// ControlFrame encodes a control frame; the payload is cut to MaxControl bytes (RFC 6455 §5.5).
func ControlFrame(op byte, payload []byte) []byte {
	payload = payload[:min(len(payload), MaxControl)]
	return append([]byte{Final | op, byte(len(payload))}, payload...)
}

// Header is the header of a client's frame (RFC 6455 §5.2).
type Header struct {
	Fin    bool
	RSV    byte // the reserved bits, in their place
	Op     byte
	Masked bool
	Size   int    // of the header itself, with the mask, in bytes
	Length uint64 // of the payload
}

// ParseHeader reads a frame header. ok is false if b is too short.
func ParseHeader(b []byte) (h Header, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h.Fin, h.RSV, h.Op = b[0]&Final != 0, b[0]&0x70, b[0]&0x0f
	h.Masked = b[1]&0x80 != 0
	h.Size = 2
	switch l := b[1] & 0x7f; l {
	case 126:
		if len(b) < 4 {
			return h, false
		}
		h.Length, h.Size = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return h, false
		}
		h.Length, h.Size = binary.BigEndian.Uint64(b[2:]), 10
	default:
		h.Length = uint64(l)
	}
	if h.Masked {
		h.Size += 4
	}
	return h, true
}

// Control reports whether the frame is a control frame.
func (h Header) Control() bool { return h.Op >= OpClose }

// Unmask returns a copy of the unmasked payload of raw, the whole frame whose header is h.
func (h Header) Unmask(raw []byte) []byte {
	payload, mask := slices.Clone(raw[h.Size:]), raw[h.Size-4:h.Size]
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return payload
}

// Mask masks or unmasks the payload of a client's frame in place; raw is the whole frame, whose
// header is h.
func (h Header) Mask(raw []byte) {
	payload := raw[h.Size:]
	key := uint64(binary.LittleEndian.Uint32(raw[h.Size-4:]))
	key |= key << 32
	for len(payload) >= 8 {
		binary.LittleEndian.PutUint64(payload, binary.LittleEndian.Uint64(payload)^key)
		payload = payload[8:]
	}
	for i := range payload {
		payload[i] ^= byte(key >> (8 * i))
	}
}
