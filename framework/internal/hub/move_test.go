package hub

import (
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

// full returns a State in which no field is empty.
func full() State {
	return State{
		FD: 7, Auth: auth.Identity{ID: "u7", Type: "wechatUser", Code: "A", Nickname: "小明", CTime: 1700000000}, Remote: "192.0.2.1", Since: time.Unix(1700000001, 5),
		Rooms: []string{"R1", "R2"}, Data: []byte("kept"), In: []byte{0x81, 0x85, 1}, Out: []byte{0x81, 2, 'h', 'i'}, Frames: 1,
		Busy: true, Deflate: true, Page: 0x13, Tokens: 1.5, LastIn: 1700000002, LastPing: 1700000003, MsgsIn: 4, MsgsOut: 5, BytesIn: 600, BytesOut: 7000,
		MessageFrom: 1700000004, Cuts: []Cut{{Bytes: 4, Frames: 1, Class: wire.Latest, Key: "k"}},
	}
}

func noEmptyField(t *testing.T, v reflect.Value, path string) {
	for i := range v.NumField() {
		f, name := v.Field(i), path+v.Type().Field(i).Name
		if f.IsZero() {
			t.Errorf("%s is empty in full(): a field that does not travel would not be noticed", name)
		}
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[time.Time]() {
			noEmptyField(t, f, name+".")
		}
	}
}

func TestStateTravels(t *testing.T) {
	s := full()
	noEmptyField(t, reflect.ValueOf(s), "")
	plain := State{FD: 8}
	plain.Since = time.Unix(0, 0)
	b := plain.Append(s.Append(nil))
	var d States
	got, err := d.Decode(b)
	if err != nil || !reflect.DeepEqual(got, []State{s, plain}) {
		t.Fatalf("%+v\n%v", got, err)
	}
	for n := range b {
		list, err := d.Decode(b[:n])
		if whole := n == 0 || n == len(s.Append(nil)); whole != (err == nil) {
			t.Fatalf("%d of %d bytes: %d states, %v", n, len(b), len(list), err)
		}
	}
}

// The encoding of a State never changes while TransferVersion does not.
func TestGoldenState(t *testing.T) {
	const golden = "030e80c49fd50c84c49fd50c86c49fd50c080ab009b06d88c49fd50c8aa8a69ccebfce972f023ff80000000000000275370a77656368617455736572014106e5b08fe6988e093139322e302e322e31046b6570740381850104810268690202523102523201080202016b"
	raw, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	var d States
	want := full()
	want.Page = 0 // of pages alone
	if list, err := d.Decode(raw); err != nil || !reflect.DeepEqual(list, []State{want}) {
		t.Errorf("%+v, %v", list, err)
	}
	if got := hex.EncodeToString(want.Append(nil)); got != golden {
		t.Errorf("version %d is now\n%s\nIf the form has changed, TransferVersion must, too", TransferVersion, got)
	}
}

func FuzzStates(f *testing.F) {
	s := full()
	f.Add(s.Append(nil))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d States
		list, err := d.Decode(b)
		if err != nil {
			return
		}
		var again []byte
		for i := range list {
			again = list[i].Append(again)
		}
		second, err := d.Decode(again)
		if err != nil || len(second) != len(list) {
			t.Fatalf("%d states, then %d: %v", len(list), len(second), err)
		}
	})
}
