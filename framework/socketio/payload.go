package socketio

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Types of Engine.IO packets, their first byte.
const (
	Open    = '0'
	Close   = '1'
	Ping    = '2'
	Pong    = '3'
	Message = '4'
	Upgrade = '5'
	Noop    = '6'
)

// MaxPackets is the largest number of packets in a payload from a client.
const MaxPackets = 64

// Form is how packets stand in a payload.
type Form uint8

// Forms of payloads. A session of version 3 keeps the form that its first request asks for.
const (
	// Counted is the text form of version 3: each packet follows its length in UTF-16 units and a
	// colon.
	Counted Form = iota
	// Binary is the other form of version 3: each packet follows a 0, the decimal digits of its
	// length in bytes as the bytes 0 to 9, and 255.
	Binary
	// Separated is the form of version 4: the byte 0x1e stands between two packets.
	Separated
)

// ContentType returns the header of that name for a payload to a client.
func (f Form) ContentType() string {
	if f == Binary {
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}

// Errors of payloads.
var (
	ErrPayload = errors.New("payload cannot be read")
	ErrPackets = errors.New("payload has too many packets")
	ErrBinary  = errors.New("binary packets are not supported")
)

const (
	separator = 0x1e
	endLength = 0xff // of a length in the form Binary
)

// Append appends a payload that holds the packets.
func (f Form) Append(dst []byte, packets ...[]byte) []byte {
	for i, packet := range packets {
		switch f {
		case Counted:
			dst = append(strconv.AppendInt(dst, int64(units(packet)), 10), ':')
		case Binary:
			dst = append(dst, 0)
			from := len(dst)
			dst = strconv.AppendInt(dst, int64(len(packet)), 10)
			for i := from; i < len(dst); i++ {
				dst[i] -= '0'
			}
			dst = append(dst, endLength)
		case Separated:
			if i > 0 {
				dst = append(dst, separator)
			}
		}
		dst = append(dst, packet...)
	}
	return dst
}

// units returns the length of a text in UTF-16 units, in which JavaScript counts.
func units(text []byte) (n int) {
	for _, r := range string(text) {
		if n++; r > 0xffff {
			n++
		}
	}
	return n
}

// Parse returns the packets of a payload from a client, which share its memory. Each has at least
// its type and is valid UTF-8. UTF-8 that was encoded twice, as clients 1.x do when they poll, is
// decoded once more.
func (f Form) Parse(payload []byte) (packets [][]byte, err error) {
	for rest := payload; len(rest) > 0 || len(packets) == 0; {
		if len(packets) == MaxPackets {
			return nil, ErrPackets
		}
		var packet []byte
		switch f {
		case Counted:
			packet, rest, err = counted(rest)
		case Binary:
			packet, rest, err = binary(rest)
		default:
			packet, rest, err = separated(rest)
		}
		switch {
		case err != nil:
			return nil, err
		case len(packet) == 0, !utf8.Valid(packet):
			return nil, ErrPayload
		case packet[0] == 'b':
			return nil, ErrBinary
		case packet[0] < Open || packet[0] > Noop:
			return nil, ErrPayload
		}
		if f != Separated {
			packet = undouble(packet)
		}
		packets = append(packets, packet)
	}
	return packets, nil
}

// maxDigits bounds the digits of a length.
const maxDigits = 9

// counted cuts one packet of the form Counted off a payload.
func counted(b []byte) (packet, rest []byte, err error) {
	i := bytes.IndexByte(b[:min(len(b), maxDigits+1)], ':')
	if i < 1 {
		return nil, nil, ErrPayload
	}
	n := 0
	for _, d := range b[:i] {
		if d < '0' || d > '9' {
			return nil, nil, ErrPayload
		}
		n = 10*n + int(d-'0')
	}
	b = b[i+1:]
	for end := 0; ; {
		if n == 0 {
			return b[:end], b[end:], nil
		}
		r, size := utf8.DecodeRune(b[end:])
		if r == utf8.RuneError && size < 2 {
			return nil, nil, ErrPayload
		}
		if n--; r > 0xffff {
			n--
		}
		if n < 0 { // the length ends within a pair
			return nil, nil, ErrPayload
		}
		end += size
	}
}

// binary cuts one packet of the form Binary off a payload.
func binary(b []byte) (packet, rest []byte, err error) {
	if len(b) == 0 || b[0] > 1 {
		return nil, nil, ErrPayload
	}
	i := bytes.IndexByte(b[:min(len(b), maxDigits+2)], endLength)
	if i < 2 {
		return nil, nil, ErrPayload
	}
	n := 0
	for _, d := range b[1:i] {
		if d > 9 {
			return nil, nil, ErrPayload
		}
		n = 10*n + int(d)
	}
	if n > len(b)-i-1 {
		return nil, nil, ErrPayload
	}
	if b[0] == 1 {
		return nil, nil, ErrBinary
	}
	return b[i+1:][:n], b[i+1+n:], nil
}

// separated cuts one packet of the form Separated off a payload.
func separated(b []byte) (packet, rest []byte, err error) {
	packet, rest, more := bytes.Cut(b, []byte{separator})
	if more && len(rest) == 0 {
		return nil, nil, ErrPayload
	}
	return packet, rest, nil
}

// undouble decodes a packet whose UTF-8 was encoded twice: all its characters are Latin-1, one is
// not ASCII, and their bytes are valid UTF-8 again.
func undouble(packet []byte) []byte {
	doubled := false
	for _, r := range string(packet) {
		if r > 0xff {
			return packet
		}
		doubled = doubled || r >= utf8.RuneSelf
	}
	if !doubled {
		return packet
	}
	once := make([]byte, 0, len(packet))
	for _, r := range string(packet) {
		once = append(once, byte(r))
	}
	if !utf8.Valid(once) {
		return packet
	}
	return slices.Clip(once)
}
