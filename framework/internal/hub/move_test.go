package hub

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

// full is a State in which no field is empty.
func full() State {
	return State{
		FD: 7, Auth: auth.Identity{ID: "u7", Type: "wechatUser", Code: "A", Nickname: "小明", CTime: 1700000000}, Remote: "192.0.2.1", Since: time.Unix(1700000001, 5),
		Rooms: []string{"R1", "R2"}, Data: json.RawMessage(`{"Keys":["k"]}`), In: []byte{0x81, 0x85, 1}, Out: []byte{0x81, 2, 'h', 'i'}, Frames: 1,
		Busy: true, Deflate: true, Tokens: 1.5, LastIn: 1700000002, LastPing: 1700000003, MsgsIn: 4, MsgsOut: 5, BytesIn: 600, BytesOut: 7000,
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
	got, err := d.Decode(b, TransferVersion)
	if err != nil || !reflect.DeepEqual(got, []State{s, plain}) {
		t.Fatalf("%+v\n%v", got, err)
	}
	for n := range b {
		list, err := d.Decode(b[:n], TransferVersion)
		if whole := n == 0 || n == len(s.Append(nil)); whole != (err == nil) {
			t.Fatalf("%d of %d bytes: %d states, %v", n, len(b), len(list), err)
		}
	}
}

// What workers of released versions write: these bytes never change.
func TestGoldenStates(t *testing.T) {
	const v1 = `[{"FD":7,"Auth":{"id":"u7","type":"wechatUser","code":"A","nickname":"小明","ctime":1700000000},"Remote":"192.0.2.1","Since":"2023-11-14T22:13:21.000000005Z",` +
		`"Rooms":["R1","R2"],"Data":{"Keys":["k"]},"In":"gYUB","Out":"gQJoaQ==","Frames":1,"Busy":true,"Deflate":true,"Tokens":1.5,"LastIn":1700000002,"LastPing":1700000003,` +
		`"MsgsIn":4,"MsgsOut":5,"BytesIn":600,"BytesOut":7000}]`
	const v2 = "030e80c49fd50c84c49fd50c86c49fd50c080ab009b06d8aa8a69ccebfce972f023ff80000000000000275370a77656368617455736572014106e5b08fe6988e093139322e302e322e310e" +
		"7b224b657973223a5b226b225d7d03818501048102686902025231025232"
	const v3 = v2 + "88c49fd50c01040102016b"
	raw, err := hex.DecodeString(v3)
	if err != nil {
		t.Fatal(err)
	}
	for version, b := range map[int][]byte{1: []byte(v1), 2: raw[:len(v2)/2], 3: raw} {
		want := full()
		if version < 3 {
			want.MessageFrom, want.Cuts = 0, nil
		}
		var d States
		list, err := d.Decode(b, version)
		if err != nil || len(list) != 1 {
			t.Errorf("version %d: %d states, %v", version, len(list), err)
			continue
		}
		got := list[0]
		if !got.Since.Equal(want.Since) {
			t.Errorf("version %d: since %v", version, got.Since)
		}
		got.Since = want.Since
		if !reflect.DeepEqual(got, want) {
			t.Errorf("version %d:\n%+v\n%+v", version, got, want)
		}
	}
	want := full()
	if got := hex.EncodeToString(want.Append(nil)); got != v3 {
		t.Errorf("version %d is now\n%s\nIf the form has changed, TransferVersion must, too", TransferVersion, got)
	}
}

func FuzzStates(f *testing.F) {
	s := full()
	f.Add(s.Append(nil))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d States
		list, err := d.Decode(b, TransferVersion)
		if err != nil {
			return
		}
		var again []byte
		for i := range list {
			again = list[i].Append(again)
		}
		second, err := d.Decode(again, TransferVersion)
		if err != nil || len(second) != len(list) {
			t.Fatalf("%d states, then %d: %v", len(list), len(second), err)
		}
	})
}
