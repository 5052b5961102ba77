package session

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/room"
)

func fullSession() state {
	return state{
		Keys: []string{"k1", "k2"}, Listeners: []string{"index.a"}, Announced: []string{"R"}, Unannounced: []string{"R"}, UIDs: []string{"u", "v"},
		User: "n", Unbound: true, Values: map[string]json.RawMessage{"a": json.RawMessage(`{"b":1}`)},
		Seen: map[string]room.Position{"S": {Offset: -7, Epoch: "e"}}, Received: map[string]room.Position{"M": {Offset: 1 << 40, Epoch: "f"}},
		Rivals: []rival{{"u", 1 << 50}, {"v", 2}},
		PHP:    &PHP{UID: "w", Bytes: []byte("a:0:{}"), Grouped: true, Foreign: true, Events: []byte{0, 0xff}},
	}
}

func TestSessionTravels(t *testing.T) {
	full := fullSession()
	for i, v := 0, reflect.ValueOf(full); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("%s is empty: a field that does not travel would not be noticed", v.Type().Field(i).Name)
		}
	}
	b := full.encode()
	var got state
	if err := got.decode(b); err != nil || !reflect.DeepEqual(got, full) {
		t.Fatalf("%+v %v", got, err)
	}
	for n := 1; n < len(b); n++ {
		if new(state).decode(b[:n]) == nil {
			t.Fatalf("%d of %d bytes are enough", n, len(b))
		}
	}
	var none state
	if b := none.encode(); len(b) > 0 || new(state).decode(b) != nil {
		t.Errorf("%d bytes of nothing", len(b))
	}
}

// Any bytes decode to a state or an error, and a decoded state can be encoded again.
func FuzzSession(f *testing.F) {
	full := fullSession()
	f.Add(full.encode())
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second state
		if first.decode(b) != nil {
			return
		}
		if err := second.decode(first.encode()); err != nil {
			t.Fatal(err)
		}
	})
}

// The largest session costs a move little (promise P6).
func BenchmarkSessionTravels(b *testing.B) {
	s := state{Seen: map[string]room.Position{}, Values: map[string]json.RawMessage{}}
	for i := range history.MaxRooms {
		s.Seen[fmt.Sprint(i, strings.Repeat("r", 126))] = room.Position{Offset: 1 << 50, Epoch: strings.Repeat("\x01", envelope.MaxEpoch)}
	}
	s.Values["v"] = json.RawMessage(`"` + strings.Repeat("<", maxSize-10) + `"`)
	for i := range 256 {
		s.Announced = append(s.Announced, fmt.Sprint(i, strings.Repeat("r", 125)))
	}
	for b.Loop() {
		var got state
		if err := got.decode(s.encode()); err != nil {
			b.Fatal(err)
		}
	}
}
