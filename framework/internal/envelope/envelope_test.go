package envelope_test

import (
	"bytes"
	"fmt"
	"testing"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/wire"
)

// The bytes of a sealed push: nodes of two versions may serve side by side.
func TestSeal(t *testing.T) {
	for _, tc := range []struct {
		d    envelope.Delivery
		want string
	}{
		{envelope.Delivery{}, "\x00{}"},
		{envelope.Delivery{Keep: 3, Durable: true}, "\x00{}"}, // what only the sender needs does not travel
		{envelope.Delivery{Class: wire.DropOldest}, "\x07{\"c\":1}{}"},
		{envelope.Delivery{Class: wire.Latest, Key: "k"}, "\x0f{\"c\":2,\"k\":\"k\"}{}"},
		{envelope.Delivery{Except: []int64{8, 9}}, "\x0b{\"x\":[8,9]}{}"},
	} {
		b := envelope.Seal(&tc.d, []byte("{}"))
		if string(b) != tc.want {
			t.Errorf("%+v: %q, want %q", tc.d, b, tc.want)
		}
		d, payload, err := envelope.Open(b)
		tc.d.Keep, tc.d.Durable = 0, false
		if fmt.Sprint(d) != fmt.Sprint(tc.d) || string(payload) != "{}" || err != nil {
			t.Errorf("%q: %+v %q %v", b, d, payload, err)
		}
	}
	for _, b := range []string{"", "\x00", "\x00{", "\x05{}", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff{}", "\x02xx{}"} {
		if _, _, err := envelope.Open([]byte(b)); err == nil {
			t.Errorf("%q was opened", b)
		}
	}
}

func TestPosition(t *testing.T) {
	const room = "r\"\n"
	b := envelope.AppendPositioned([]byte("x"), []byte(`{"status":200}`), room, "e", 7)
	if want := `x{"status":200,"room":"r\"\n","offset":7,"epoch":"e"}`; string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
	longest := envelope.AppendPositioned(nil, []byte("{}"), "room", string(bytes.Repeat([]byte("e"), envelope.MaxEpoch)), 1<<63-1)
	if n := len(longest) - len("{}"); n != envelope.MaxPosition("room") {
		t.Errorf("a position takes %d bytes, bound %d", n, envelope.MaxPosition("room"))
	}
}

func TestFrameOf(t *testing.T) {
	d := envelope.Delivery{Class: wire.Latest, Key: "k"}
	plain := d.FrameOf([]byte("{}"), &bus.Message{Key: "r"})
	placed := d.FrameOf([]byte("{}"), &bus.Message{Key: "r", Offset: 3, Epoch: "e"})
	if plain.Len() >= placed.Len() {
		t.Errorf("%d and %d bytes", plain.Len(), placed.Len())
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x00{}"))
	f.Add([]byte("\x07{\"c\":1}{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, payload, err := envelope.Open(b)
		if err != nil {
			return
		}
		again, same, err := envelope.Open(envelope.Seal(&d, payload))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(d) || !bytes.Equal(same, payload) {
			t.Errorf("%q: %+v %q %v", b, again, same, err)
		}
	})
}
