package pages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"wsframe/framework/auth"
	"wsframe/framework/frame"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
	"wsframe/framework/socketio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a hub whose connections are pages.
type fixture struct {
	*Pages
	t     *testing.T
	hub   *hub.Hub
	last  int64
	bound []string

	mu   sync.Mutex
	ends []string
}

func (f *fixture) Message(c *hub.Conn, data []byte) {
	if s := session.Of(c).Foreign; !s.MessageInline(data) {
		s.Message(data)
	}
}

func (f *fixture) Closed(c *hub.Conn, code int, reason string, _ []string) {
	session.Of(c).Foreign.Closed()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends = append(f.ends, fmt.Sprint(c.FD, " ", code, " ", reason))
}

// inTime runs a test on pages, without sockets and in its own time.
func inTime(t *testing.T, cfg Config, test func(t *testing.T, f *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t}
		cfg.JSONDepth, cfg.Log = 8, zaptest.NewLogger(t)
		cfg.Bind = func(c *hub.Conn, uid string) error {
			f.bound = append(f.bound, fmt.Sprint(c.FD, " ", uid))
			_, err := c.Bind(uid)
			return err
		}
		f.Pages = New(cfg)
		f.hub = hub.New(f, hub.Config{Pages: hub.PageConfig{Translate: f.Translate}})
		defer func() {
			if err := f.hub.Drain(t.Context(), wire.CloseGoingAway, "", 0); err != nil {
				t.Error(err)
			}
			f.hub.Close()
		}()
		test(t, f)
	})
}

// open makes a page of a version; ended is closed with it.
func (f *fixture) open(version int, id string) (c socketio.Conn, ended chan struct{}) {
	ended = make(chan struct{})
	f.last++
	return f.Open(f.hub, f.last, auth.Identity{ID: id}, "192.0.2.1", version, func(c *hub.Conn) {
		if f.hub.Get(c.FD) != c {
			f.t.Error("it is not known yet")
		}
	}, func() { close(ended) }), ended
}

// want takes what is queued.
func (f *fixture) want(c socketio.Conn, packets ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Millisecond)
	defer cancel()
	var got []string
	for {
		list, err := c.Take(ctx, 1<<20)
		for _, p := range list {
			got = append(got, string(p))
		}
		if err != nil {
			break
		}
	}
	if !slices.Equal(got, packets) {
		f.t.Errorf("got %q, want %q", got, packets)
	}
}

func (f *fixture) receive(c socketio.Conn, packets ...string) {
	f.t.Helper()
	var list [][]byte
	for _, p := range packets {
		list = append(list, []byte(p))
	}
	if err := c.Receive(list); err != nil {
		f.t.Errorf("%q: %v", packets, err)
	}
}

func (f *fixture) push(r *frame.Reply) {
	b, err := frame.AppendReply(nil, r, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.hub.Broadcast(wire.TextFrame(b))
	f.hub.SettleRooms()
}

// Pages of both versions connect, log in and get pushes.
func TestPages(t *testing.T) {
	var last json.RawMessage // in the store
	inTime(t, Config{AnyLogin: true, Online: func() json.RawMessage { return last }}, func(t *testing.T, f *fixture) {
		old, _ := f.open(3, "")
		f.want(old, "40")
		f.receive(old, "2", "2probe", `42["login",123]`, `42["login","other"]`)
		f.want(old, "3", "3probe", `42["update_online_count","\u5f53\u524d<b>1</b>\u4eba\u5728\u7ebf\uff0c\u5171\u6253\u5f00<b>1</b>\u4e2a\u9875\u9762"]`)

		current, _ := f.open(4, "")
		f.push(&frame.Reply{Status: 200, Event: "early"})
		f.receive(current, `42["login","u1"]`, "40")
		f.push(&frame.Reply{Status: 200, Event: "update_online_count", Param: map[string]int{"users": 7, "connections": 9}})
		f.receive(current, "3", `42["login",""]`, `42["login"]`, `42["nosuch",{"a":1}]`, `42["login","a b"]`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		packets, err := current.Take(ctx, 1<<20)
		if err != nil || len(packets) != 3 || !strings.HasPrefix(string(packets[0]), `40{"sid":"`) || string(packets[1]) != string(packets[2]) {
			t.Errorf("%q %v", packets, err)
		}
		f.want(old, `42["early"]`, `42["update_online_count","\u5f53\u524d<b>7</b>\u4eba\u5728\u7ebf\uff0c\u5171\u6253\u5f00<b>9</b>\u4e2a\u9875\u9762"]`)
		if fmt.Sprint(f.bound) != "[1 123 2 a%20b]" {
			t.Errorf("%q", f.bound)
		}
		last = json.RawMessage(`{"users":8,"connections":10}`)
		time.Sleep(2 * time.Second)
		third, _ := f.open(4, "")
		f.receive(third, "40", `42["login","x"]`)
		if packets, err := third.Take(ctx, 1<<20); err != nil || len(packets) != 2 || string(packets[1]) != `42["update_online_count","当前<b>8</b>人在线，共打开<b>10</b>个页面"]` {
			t.Errorf("%q %v", packets, err)
		}
		third.Close(wire.CloseNormal, "")
		f.bound = f.bound[:2]
		f.push(&frame.Reply{Status: 200, Event: "new_msg", Param: "你好&lt;b&gt;"})
		f.want(old, `42["new_msg","\u4f60\u597d&lt;b&gt;"]`)
		f.want(current, `42["new_msg","你好&lt;b&gt;"]`)
	})
}

// With tokens, a page logs in as the user of its token only.
func TestLoginByToken(t *testing.T) {
	inTime(t, Config{}, func(t *testing.T, f *fixture) {
		c, _ := f.open(3, "7")
		f.receive(c, `42["login","8"]`, `42["login",7]`)
		nobody, _ := f.open(3, "")
		f.receive(nobody, `42["login",""]`, `42["login","8"]`)
		if fmt.Sprint(f.bound) != "[1 7]" {
			t.Errorf("%q", f.bound)
		}
		f.want(c, "40") // no count: push.online_count is off
	})
}

// A connection ends by the page, by its faults, and by the server. The engine learns each.
func TestEnds(t *testing.T) {
	inTime(t, Config{AnyLogin: true}, func(t *testing.T, f *fixture) {
		var ends []chan struct{}
		for _, packet := range []string{"41", "1", `42{"a":1}`, "45-", "x", "42[[[[[[[[[[1]]]]]]]]]]"} {
			c, ended := f.open(3, "")
			f.receive(c, packet)
			synctest.Wait()
			f.want(c, "40", "1")
			if err := c.Receive([][]byte{[]byte("2")}); !errors.Is(err, socketio.ErrEnded) {
				t.Error(err)
			}
			ends = append(ends, ended)
		}
		idle, ended := f.open(4, "")
		ends = append(ends, ended)
		time.Sleep(86 * time.Second)
		f.want(idle, "2", "2", "2", "1")
		slow, ended := f.open(3, "")
		ends = append(ends, ended)
		for range 2000 {
			f.push(&frame.Reply{Status: 200, Event: "x"})
		}
		synctest.Wait()
		for i, ended := range ends {
			select {
			case <-ended:
			default:
				t.Errorf("the engine does not know the end of %d", i+1)
			}
		}
		slow.Touch()
		want := "[1 1000 the client has left 2 1000 the client has left 3 1008 malformed packet 4 1008 binary packets are not supported 5 1008 malformed packet 6 1008 malformed packet 7 4000 idle 8 4008 slow]"
		if fmt.Sprint(f.ends) != want {
			t.Errorf("%v", f.ends)
		}
	})
}

// What becomes of a frame.
func TestTranslate(t *testing.T) {
	ps := New(Config{})
	for payload, want := range map[string]string{
		`{"status":200,"event":"e","info":"x","param":[1,{"a":"ü"}],"id":3}`: `42["e",[1,{"a":"ü"}]]`,
		`{"status":200,"event":"e","info":"x"}`:                              `42["e"]`,
		`{"status":200,"event":"e","info":"x","param":null}`:                 `42["e",null]`,
		`{"status":200}`:         `42["message","{\"status\":200}"]`,
		`{"status":1,"event":2}`: `42["message","{\"status\":1,\"event\":2}"]`,
		`{"type":"say"}`:         `42["message","{\"type\":\"say\"}"]`,
		`plain`:                  `42["message","plain"]`,
		`{"status":200,"event":"update_online_count","info":"","param":{"users":1}}`: `42["update_online_count",{"users":1}]`,
	} {
		if got := string(ps.Translate([]byte("x"), []byte(payload), 4)); got != "x"+want {
			t.Errorf("%s: %s", payload, got)
		}
	}
	if got := string(ps.Translate(nil, []byte(`{"status":200,"event":"é","info":"","param":"😀"}`), 3)); got != `42["\u00e9","\ud83d\ude00"]` {
		t.Error(got)
	}
}

// BenchmarkTranslate measures the one translation of a push.
func BenchmarkTranslate(b *testing.B) {
	ps := New(Config{})
	payload := []byte(`{"status":200,"event":"new_msg","info":"","param":"` + strings.Repeat("hello ", 20) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		ps.Translate(nil, payload, 3)
	}
}
