// Package packed encodes values one after the other: numbers as varints, texts with their length in
// front. The embedded store's file (library/cache/snapshot) and the states of connections that move
// to the next worker are encoded with it.
//
//	b = packed.AppendText(binary.AppendVarint(b, fd), name)
//	…
//	r := packed.NewReader(b)
//	fd, name := r.Int(), r.Text()
//	if err := r.End(); err != nil { … } // one check after all values
//
// The encoding does not describe itself: writer and reader must agree on the order of the values. A
// Reader belongs to one goroutine.
package packed

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrShort is returned when a value is missing or cut, or when bytes remain after the last value.
var ErrShort = errors.New("encoded values cannot be read")

// AppendText appends the length of a text, then its bytes.
func AppendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// AppendTexts appends the number of texts, then each of them.
func AppendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, text := range list {
		b = AppendText(b, text)
	}
	return b
}

// AppendFloat appends a number in 8 bytes.
func AppendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(f))
}

// Reader reads values from the front of a buffer. After the first value that cannot be read, Err
// returns ErrShort and all further values are zero.
type Reader struct {
	rest []byte
	bad  bool
}

// NewReader returns a Reader of b. The results of Bytes share b.
func NewReader(b []byte) Reader { return Reader{rest: b} }

// More reports whether bytes remain.
func (r *Reader) More() bool { return len(r.rest) > 0 }

// Err returns ErrShort when a value could not be read.
func (r *Reader) Err() error {
	if r.bad {
		return ErrShort
	}
	return nil
}

// End returns the error of Err, and ErrShort also when bytes remain.
func (r *Reader) End() error {
	r.bad = r.bad || r.More()
	return r.Err()
}

// Fail makes the Reader fail: its caller found a value that cannot be right.
func (r *Reader) Fail() { r.bad, r.rest = true, nil }

// next returns the next n bytes, nil when there are fewer.
func (r *Reader) next(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.Fail()
		return nil
	}
	t := r.rest[:n:n]
	r.rest = r.rest[n:]
	return t
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.next(1); b != nil {
		return b[0]
	}
	return 0
}

// Int reads a number that binary.AppendVarint has written.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Size reads a number of elements that binary.AppendUvarint has written. It fails for a number
// larger than the bytes that remain, so a damaged number makes nobody allocate memory.
func (r *Reader) Size() int {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > uint64(len(r.rest)-n) {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

// Float reads a number that AppendFloat has written.
func (r *Reader) Float() float64 {
	if b := r.next(8); b != nil {
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Bytes reads bytes that AppendText has written, nil where there are none. They share the buffer.
func (r *Reader) Bytes() []byte {
	if n := r.Size(); n > 0 {
		return r.next(uint64(n))
	}
	return nil
}

// Text reads a text that AppendText has written.
func (r *Reader) Text() string { return string(r.Bytes()) }

// Texts reads a list that AppendTexts has written, nil where it is empty.
func (r *Reader) Texts() []string {
	n := r.Size()
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for ; n > 0 && r.Err() == nil; n-- {
		list = append(list, r.Text())
	}
	return list
}
