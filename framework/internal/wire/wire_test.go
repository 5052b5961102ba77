package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

// masked encodes a client's frame.
func masked(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 250}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// Headers have the same length when written, predicted and read, at the edges of all three forms.
func TestLengths(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 70000} {
		payload := bytes.Repeat([]byte("x"), n)
		f := TextFrame(payload)
		if f.Len() != FrameLen(n) || f.Count != 1 {
			t.Errorf("%d: %d bytes, %d foretold", n, f.Len(), FrameLen(n))
		}
		h, ok := ParseHeader(f.Bytes)
		if !ok || !h.Fin || h.Op != OpText || h.Masked || h.RSV != 0 || h.Size+n != f.Len() || h.Length != uint64(n) {
			t.Errorf("%d: %+v", n, h)
		}
		if !bytes.Equal(f.Bytes[h.Size:], payload) {
			t.Errorf("%d: another payload", n)
		}
	}
}

func TestParseHeader(t *testing.T) {
	for _, n := range []int{0, 125, 126, 65536} {
		raw := masked(0x42, bytes.Repeat([]byte("ab"), n/2))
		h, ok := ParseHeader(raw)
		if !ok || h.Fin || h.RSV != 0x40 || h.Op != OpBinary || !h.Masked || h.Control() || int(h.Length) != n/2*2 {
			t.Errorf("%d: %+v", n, h)
		}
		if got := string(h.Unmask(raw)); got != strings.Repeat("ab", n/2) {
			t.Errorf("%d: %d bytes unmasked", n, len(got))
		}
		for i := range h.Size - 4 {
			if _, ok := ParseHeader(raw[:i]); ok {
				t.Errorf("%d: a header in %d bytes", n, i)
			}
		}
	}
	if h, ok := ParseHeader([]byte{0x88, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}); !ok || h.Length != 1<<63 || !h.Control() {
		t.Errorf("%+v", h)
	}
}

func TestCloseFrame(t *testing.T) {
	for _, test := range []struct {
		code   int
		reason string
		want   Close
	}{
		{CloseNormal, "", Close{CloseNormal, ""}},
		{CloseSlow, "slow", Close{CloseSlow, "slow"}},
		{CloseNoStatus, "never", Close{CloseNoStatus, ""}},
		{0, "never", Close{CloseNoStatus, ""}},
		{CloseKicked, strings.Repeat("x", 200), Close{CloseKicked, strings.Repeat("x", 123)}},
		{CloseKicked, strings.Repeat("x", 122) + "明", Close{CloseKicked, strings.Repeat("x", 122)}},
		{CloseKicked, strings.Repeat("x", 120) + "明", Close{CloseKicked, strings.Repeat("x", 120) + "明"}},
		{CloseKicked, strings.Repeat("\x80", 200), Close{CloseKicked, strings.Repeat("\x80", 119)}},
	} {
		b := CloseFrame(test.code, test.reason)
		h, ok := ParseHeader(b)
		if !ok || !h.Fin || h.Op != OpClose || h.Size+int(h.Length) != len(b) || h.Length > MaxControl {
			t.Fatalf("%d: %x", test.code, b)
		}
		if got := ParseClose(b[h.Size:]); got != test.want {
			t.Errorf("%d: %+v, want %+v", test.code, got, test.want)
		}
	}
}

func TestMayClose(t *testing.T) {
	for code, may := range map[int]bool{0: false, 999: false, 1000: true, 1001: false, 1006: false, 2999: false, 3000: true, 4999: true, 5000: false, -1: false} {
		if MayClose(code) != may {
			t.Error(code, !may)
		}
	}
}

func TestHandling(t *testing.T) {
	plain := TextFrame([]byte("x"))
	f := plain.With(Handling{Class: Latest, Key: "k", Except: []int64{7}, Offset: 3, Epoch: "e"})
	if !f.Excludes(7) || f.Excludes(8) || !f.Kept() || !f.Handling.Droppable() {
		t.Errorf("%+v", f.Handling)
	}
	if plain.Excludes(7) || plain.Kept() || plain.Handling.Droppable() {
		t.Error("the plain frame has changed")
	}
}

// Incomplete headers are refused, and a header never has more than 14 bytes.
func FuzzParseHeader(f *testing.F) {
	f.Add(masked(0x81, []byte("hello")))
	f.Add([]byte{0x82, 0x7e, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := ParseHeader(b)
		if ok && (h.Size < 2 || h.Size > 14) || !ok && len(b) >= 10 {
			t.Fatalf("%x: %+v %v", b, h, ok)
		}
		if ok && h.Masked && h.Size <= len(b) {
			h.Unmask(b)
		}
	})
}

func FuzzCloseFrame(f *testing.F) {
	f.Add(4011, "明明明")
	f.Fuzz(func(t *testing.T, code int, reason string) {
		b := CloseFrame(code, reason)
		if len(b) > 2+MaxControl {
			t.Fatalf("%d bytes", len(b))
		}
		if c := ParseClose(b[2:]); utf8.ValidString(reason) && (!utf8.ValidString(c.Reason) || !strings.HasPrefix(reason, c.Reason)) {
			t.Fatalf("%q", c.Reason)
		}
	})
}
