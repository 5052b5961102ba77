// Package packed writes and reads values one behind the other: numbers as varints, texts behind their length.
//
// The states that travel with connections to the next worker are encoded with it: by hub what belongs to a connection, by the
// packages above what they keep with it. Nothing says what a value is, so writer and reader must agree on the order.
//
//	b = packed.AppendText(binary.AppendVarint(b, fd), name)
//	…
//	r := packed.NewReader(b)
//	fd, name := r.Int(), r.Text()
//	if err := r.End(); err != nil { … } // one check after all values
//
// A Reader belongs to one goroutine.
package packed

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrShort is returned when a value is not there, or something is left over.
var ErrShort = errors.New("encoded values cannot be read")

// AppendText appends a text or bytes behind their length.
func AppendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// AppendFloat appends a number in 8 bytes.
func AppendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(f))
}

// Reader takes values from the front of a buffer. After the first value that is not there, all others are zero, and Err tells it.
type Reader struct {
	rest []byte
	bad  bool
}

// NewReader reads b. Bytes gives parts of b itself.
func NewReader(b []byte) Reader { return Reader{rest: b} }

// More tells whether something is left.
func (r *Reader) More() bool { return len(r.rest) > 0 }

// Err is ErrShort when a value was not there.
func (r *Reader) Err() error {
	if r.bad {
		return ErrShort
	}
	return nil
}

// End is Err, and ErrShort also where something is left.
func (r *Reader) End() error {
	r.bad = r.bad || r.More()
	return r.Err()
}

// Fail has the Reader treat a value that it gave as one that is not there.
func (r *Reader) Fail() { r.bad, r.rest = true, nil }

func (r *Reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.Fail()
		return nil
	}
	t := r.rest[:n:n]
	r.rest = r.rest[n:]
	return t
}

// Byte takes one byte.
func (r *Reader) Byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Int takes what binary.AppendVarint has written.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Size takes what binary.AppendUvarint has written. A size beyond what is left cannot be one: it fails.
func (r *Reader) Size() int {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > uint64(len(r.rest)-n) {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

// Float takes what AppendFloat has written.
func (r *Reader) Float() float64 {
	if b := r.take(8); b != nil {
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Bytes takes what AppendText has written, nil where that is nothing. It is a part of the buffer.
func (r *Reader) Bytes() []byte {
	if n := r.Size(); n > 0 {
		return r.take(uint64(n))
	}
	return nil
}

// Text is Bytes as a string of its own.
func (r *Reader) Text() string { return string(r.Bytes()) }
