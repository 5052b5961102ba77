package hub

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wsframe/framework/auth"
)

// full is a State in which no field is empty.
func full() State {
	return State{
		FD: 7, Auth: auth.Identity{ID: "u7", Type: "wechatUser", Code: "A", Nickname: "小明", CTime: 1700000000}, Remote: "192.0.2.1", Since: time.Unix(1700000001, 5),
		Rooms: []string{"R1", "R2"}, Data: json.RawMessage(`{"Keys":["k"]}`), In: []byte{0x81, 0x85, 1}, Out: []byte{0x81, 2, 'h', 'i'}, Frames: 1,
		Busy: true, Deflate: true, Tokens: 1.5, LastIn: 1700000002, LastPing: 1700000003, MsgsIn: 4, MsgsOut: 5, BytesIn: 600, BytesOut: 7000,
		MessageFrom: 1700000004, Cuts: []Cut{{Bytes: 4, Frames: 1, Class: Latest, Key: "k"}},
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

// keeper is a Mover that keeps what it is given.
type keeper struct {
	mu     sync.Mutex
	frames []string
	x      []*Handling
}

func (k *keeper) Relay(_ int64, frames []byte, _ int, x *Handling, _ bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frames, k.x = append(k.frames, string(frames)), append(k.x, x)
}

func (k *keeper) RelayClose(int64, int, string) {}

// move has the connections held by another hub, as another process does; they are served there when they begin.
func (s *server) move(to *server) (moved []*Conn) {
	s.t.Helper()
	s.Freeze(time.Second)
	s.Each(func(c *Conn) bool {
		var state State
		s.waitFor("it can be exported", func() (ok bool) { state, ok, _ = s.Export(c, &keeper{}, nil); return ok })
		var d States
		list, err := d.Decode(state.Append(nil), TransferVersion)
		if err != nil {
			s.t.Fatal(err)
		}
		f, err := c.sock.nc.File()
		if err != nil {
			s.t.Fatal(err)
		}
		nc, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		next, err := to.Adopt(nc.(*net.TCPConn), list[0], func(*Conn) error { return nil })
		if err != nil {
			s.t.Fatal(err)
		}
		moved = append(moved, next)
		return true
	})
	left := make(chan int64, len(moved))
	if n := s.Release(func(fd int64) { left <- fd }); n != len(moved) {
		s.t.Fatalf("released %d of %d", n, len(moved))
	}
	for range moved {
		<-left
	}
	return moved
}

func begin(moved []*Conn) {
	for _, c := range moved {
		c.Begin(true)
	}
}

// Compression is a matter between the client and whoever shook hands with it: a process without it goes on with such connections, and
// one with it does not begin it with others.
func TestMoveDeflated(t *testing.T) {
	on, off := serve(t, Config{Compression: true}), serve(t, Config{})
	text := strings.Repeat("compress me ", 30)
	c, plain := on.dialDeflate(), on.dial()
	on.waitFor("both", func() bool { return on.Len() == 2 })
	half := frameBytes(0xC1, deflated([]byte(text)))
	for _, way := range [][2]*server{{on, off}, {off, on}, {on, off}} {
		c.raw(half[:5])
		way[0].waitFor("a half frame", func() (there bool) {
			way[0].Each(func(c *Conn) bool { there = there || c.messageFrom.Load() != 0; return true })
			return there
		})
		begin(way[0].move(way[1]))
		c.raw(half[5:])
		c.want(0x81, text)
	}
	begin(off.move(on))
	plain.raw(half)
	plain.wantClose(CloseProtocolError)
}

// The time that a message may take goes on, and what may be dropped still may.
func TestMoveKeepsWhatItIs(t *testing.T) {
	cfg := Config{OutboxBytes: 256 << 10, OutboxMessages: 80, WriteTimeout: time.Minute, IdleTimeout: time.Hour, MessageTime: time.Hour}
	s, c, conn := stuffed(t, cfg)
	to := serve(t, cfg)
	c.raw(frameBytes(0x81, []byte("never whole"))[:8])
	s.waitFor("a half message", func() bool { return conn.messageFrom.Load() != 0 })
	conn.messageFrom.Add(-30)
	began := conn.messageFrom.Load()
	for i := range 20 {
		_ = conn.Send(TextFrame(fmt.Appendf(nil, "old %d", i)).With(Handling{Class: DropOldest}))
	}
	_ = conn.Send(TextFrame([]byte("value 1")).With(Handling{Class: Latest, Key: "v"}))
	_, before := conn.Pending()
	next := s.move(to)[0]
	if from := next.messageFrom.Load(); from != began {
		t.Errorf("its message began at %d, not %d", from, began)
	}
	if _, n := next.Pending(); n != before {
		t.Errorf("%d frames wait, not %d", n, before)
	}
	if moved := next.out.queue[len(next.out.queue)-1]; moved.x == nil || moved.x.Class != Latest {
		t.Errorf("the last one is %+v", moved.x)
	}
	next.Deliver(TextFrame([]byte("value 2")).b, 1, &Handling{Class: Latest, Key: "v"})
	for i := range 70 {
		if err := next.Send(TextFrame(fmt.Appendf(nil, "control %d", i))); err != nil {
			t.Fatal(i, err)
		}
	}
	_ = next.Send(TextFrame([]byte("end")))
	begin([]*Conn{next})
	got := c.readAll("end")
	control := 0
	for _, text := range got {
		if strings.HasPrefix(text, "control") {
			control++
		}
	}
	if control != 70 || slices.Contains(got, "value 1") || slices.Contains(got, "old 0") {
		t.Errorf("%d of 70: %q", control, got)
	}
}

// What is relayed for a connection keeps its class.
func TestRelayKeepsClass(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	conn := s.only()
	s.Freeze(time.Second)
	k := &keeper{}
	s.waitFor("it can be exported", func() bool { _, ok, _ := s.Export(conn, k, nil); return ok })
	_ = conn.Send(TextFrame([]byte("v")).With(Handling{Class: Latest, Key: "k"}))
	_ = conn.Send(TextFrame([]byte("plain")))
	if len(k.x) != 2 || k.x[0] == nil || k.x[0].Class != Latest || k.x[0].Key != "k" || k.x[1].droppable() {
		t.Errorf("%+v", k.x)
	}
	s.Thaw()
	c.want(0x81, "v")
	c.want(0x81, "plain")
}

// Moves that fail cost a slow peer nothing, nor do they let it off.
func TestThawedWriter(t *testing.T) {
	cfg := Config{WriteTimeout: time.Minute, IdleTimeout: time.Hour}
	s, c, conn := stuffed(t, cfg)
	for range 300 {
		s.Freeze(time.Second)
		s.Thaw()
	}
	if err := conn.Send(TextFrame([]byte("end"))); err != nil {
		t.Fatal(err)
	}
	c.readAll("end")

	cfg.WriteTimeout = 300 * time.Millisecond
	s, _, conn = stuffed(t, cfg)
	for range 50 {
		s.Freeze(time.Second)
		s.Thaw()
	}
	s.wantClose(conn.FD, CloseSlow)
}
