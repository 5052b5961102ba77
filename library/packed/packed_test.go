package packed

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

func all() []byte {
	b := binary.AppendVarint([]byte{7}, math.MinInt64)
	b = AppendText(b, "小明")
	b = AppendFloat(b, -1.5)
	b = AppendText(b, []byte{0, 255})
	b = AppendTexts(AppendText(b, ""), []string{"x", ""})
	return AppendTexts(b, nil)
}

func TestRoundTrip(t *testing.T) {
	b := all()
	r := NewReader(b)
	if r.Byte() != 7 || r.Int() != math.MinInt64 || r.Text() != "小明" || r.Float() != -1.5 || !bytes.Equal(r.Bytes(), []byte{0, 255}) || !r.More() || r.Bytes() != nil ||
		!slices.Equal(r.Texts(), []string{"x", ""}) || r.Texts() != nil {
		t.Error("other values")
	}
	if err := r.End(); err != nil || r.More() {
		t.Error(err)
	}
}

// A missing value shows in Err after any number of further reads.
func TestShort(t *testing.T) {
	b := all()
	for n := range b {
		r := NewReader(b[:n])
		r.Byte()
		r.Int()
		_ = r.Text()
		r.Float()
		r.Bytes()
		r.Bytes()
		r.Texts()
		r.Texts()
		if r.Err() != ErrShort || r.End() != ErrShort {
			t.Errorf("%d of %d bytes are enough", n, len(b))
		}
		if r.Byte() != 0 || r.Int() != 0 || r.Text() != "" || r.Float() != 0 || r.Bytes() != nil || r.Size() != 0 || r.Texts() != nil {
			t.Error("a value after the end")
		}
	}
	r := NewReader(append(b, 0))
	r.next(uint64(len(b)))
	if r.Err() != nil || r.End() != ErrShort {
		t.Error("something is left")
	}
}

func TestSize(t *testing.T) {
	for _, b := range [][]byte{{2, 'x'}, {0xff}, binary.AppendUvarint(nil, math.MaxUint64), bytes.Repeat([]byte{0xff}, 11)} {
		r := NewReader(b)
		if n := r.Size(); n != 0 || r.Err() == nil {
			t.Errorf("%x: %d", b, n)
		}
	}
}

// A Reader returns no more than its buffer holds, and the encoding of a number that it has read is
// no longer than what it read.
func FuzzReader(f *testing.F) {
	f.Add(all(), []byte("bitfstl"))
	f.Fuzz(func(t *testing.T, b, ops []byte) {
		r := NewReader(b)
		for _, op := range ops {
			before := len(r.rest)
			switch op {
			case 'b':
				r.Byte()
			case 'i':
				v := r.Int()
				if r.Err() == nil && len(binary.AppendVarint(nil, v)) > before-len(r.rest) {
					t.Fatalf("%d is longer than what was read", v)
				}
			case 'f':
				r.Float()
			case 's':
				if n := r.Size(); n > len(r.rest) {
					t.Fatalf("%d of %d", n, len(r.rest))
				}
			case 'l':
				if l := r.Texts(); len(l) > before {
					t.Fatalf("%d of %d texts", len(l), before)
				}
			case 't':
				if s := r.Text(); len(s) > before {
					t.Fatalf("%d of %d bytes", len(s), before)
				}
			}
			if r.Err() != nil && r.More() {
				t.Fatal("something is left after a fault")
			}
		}
	})
}
