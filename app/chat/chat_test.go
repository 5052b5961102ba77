package chat_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"wsframe/app"
	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"))
}

type data = map[string]any

func user(id string) framework.Identity {
	return framework.Identity{ID: id, Type: framework.TypeWechatUser, Nickname: "nick-" + id}
}

func inRoom(d data) data { d["room"] = "lobby"; return d }

// enter joins the lobby and ignores pushes that arrive meanwhile.
func enter(h *frameworktest.Harness, id, query string) *frameworktest.Client {
	c := h.DialQuery(user(id), query)
	c.Call("chat.room.join", inRoom(data{})).Want(200, "roomJoinSuccess").WantParam(`{"channel":"CHAT_ROOM_lobby","room":"lobby"}`)
	return c
}

type message struct {
	Room, To, Text, Key string
	From                struct{ ID, Nickname string }
	Time                int64
}

func TestRoom(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	a, b, outside := enter(h, "a", ""), enter(h, "b", ""), h.Dial(user("c"))
	before := time.Now().UnixMilli()
	a.Call("Chat.Room.Say", inRoom(data{"text": " <b>hi</b> ", "key": "k1"})).Want(200, "roomSaySuccess")
	for _, c := range []*frameworktest.Client{a, b} {
		var m message
		f := c.NextPush("roomSay").Into(&m)
		if m.Room != "lobby" || m.Text != "<b>hi</b>" || m.Key != "k1" || m.From.ID != "a" || m.From.Nickname != "nick-a" || m.Time < before {
			t.Errorf("%+v", m)
		}
		if f.Room != "CHAT_ROOM_lobby" || f.Offset != 1 || f.Epoch == "" {
			t.Errorf("%+v", f)
		}
	}
	outside.WantNothing()
	b.Call("chat.room.leave", inRoom(data{})).Want(200, "roomLeaveSuccess")
	a.Call("chat.room.say", inRoom(data{"text": 7})).Want(200, "roomSaySuccess")
	a.NextPush("roomSay")
	b.Call("chat.room.online", inRoom(data{})).Want(403, "notInRoom")
}

func TestOnline(t *testing.T) {
	nodes := frameworktest.NewCluster(t, 2, app.Controllers)
	a, _, _ := enter(nodes[0], "a", ""), enter(nodes[1], "b", ""), enter(nodes[1], "a", "")
	type page struct {
		Total int
		Next  int64
		List  []struct{ ID, Nickname string }
	}
	var p page
	a.Call("chat.room.online", inRoom(data{})).Want(200, "roomOnlineSuccess").Into(&p)
	if p.Total != 3 || p.Next != 0 || len(p.List) != 2 {
		t.Fatalf("%+v", p)
	}
	var seen []string
	for after := int64(0); ; after = p.Next {
		p = page{}
		a.Call("chat.room.online", inRoom(data{"after": after, "limit": 1})).Want(200, "roomOnlineSuccess").Into(&p)
		for _, u := range p.List {
			seen = append(seen, u.ID)
		}
		if p.Next == 0 {
			break
		}
	}
	if slices.Sort(seen); !slices.Equal(seen, []string{"a", "a", "b"}) {
		t.Fatal(seen)
	}
	joined := map[string]bool{}
	for len(joined) < 2 {
		var p struct{ Room, ID, Nickname string }
		if a.NextPush(framework.EventJoined).Into(&p); p.Room != "CHAT_ROOM_lobby" {
			t.Fatalf("%+v", p)
		}
		joined[p.ID] = true
	}
}

// A reconnecting client sends its position, and receives the missed messages once.
func TestComeBack(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	a, b := enter(h, "a", ""), enter(h, "b", "")
	a.Call("chat.room.say", inRoom(data{"text": "one"})).Want(200, "roomSaySuccess")
	last := b.NextPush("roomSay")
	b.Vanish()
	for _, text := range []string{"two", "three"} {
		a.Call("chat.room.say", inRoom(data{"text": text})).Want(200, "roomSaySuccess")
	}
	for range 3 { // the view is in Redis, too
		a.NextPush("roomSay")
	}
	b = enter(h, "b", "recover="+last.Room+":"+last.Epoch+":1")
	var recovered struct {
		Recovered bool
		Count     int
	}
	if b.NextPush("sysRecovered").Into(&recovered); !recovered.Recovered || recovered.Count != 2 {
		t.Fatalf("%+v", recovered)
	}
	for _, text := range []string{"two", "three"} {
		var m message
		if b.NextPush("roomSay").Into(&m); m.Text != text {
			t.Fatalf("%+v", m)
		}
	}
	var page struct{ Items []struct{ Param message } }
	b.Call("sys.history", data{"room": last.Room, "limit": 2}).Want(200, "sysHistory").Into(&page)
	if len(page.Items) != 2 || page.Items[1].Param.Text != "three" {
		t.Fatalf("%+v", page)
	}
}

func TestPrivate(t *testing.T) {
	nodes := frameworktest.NewCluster(t, 2, app.Controllers)
	open := func(i int, id string) *frameworktest.Client {
		c := nodes[i].Dial(user(id))
		c.Call("chat.user.open", nil).Want(200, "userOpenSuccess").WantParam(`{"channel":"CHAT_USER_` + id + `","id":"` + id + `","nickname":"nick-` + id + `"}`)
		return c
	}
	a, a2, b, other := open(0, "a"), open(1, "a"), open(1, "b"), open(0, "c")
	a.Call("chat.user.say", data{"to": "b", "text": "hush"}).Want(200, "privateSaySuccess")
	for _, c := range []*frameworktest.Client{a, a2, b} {
		var m message
		if c.WantPush("privateSay").Into(&m); m.From.ID != "a" || m.To != "b" || m.Text != "hush" || m.Time == 0 {
			t.Errorf("%+v", m)
		}
	}
	other.WantNothing()
	other.Call("sys.history", data{"room": "CHAT_USER_b"}).Want(403, "notInRoom")
	a.Call("chat.user.say", data{"to": "a", "text": "x"}).Want(400, "toYourself")
	for _, to := range []string{"nobody", "no body", "用户"} {
		a.Call("chat.user.say", data{"to": to, "text": "x"}).Want(404, "userOffline")
	}
}

func TestBadInput(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	c := enter(h, "a", "")
	for _, tc := range []struct {
		method string
		in     data
		status int
		event  string
		part   string // text that the param contains
	}{
		{"chat.room.join", data{}, 400, "paramError", `"room"`},
		{"chat.room.join", data{"room": "nowhere"}, 404, "roomNotFound", ""},
		{"chat.room.join", data{"room": []int{1}}, 400, "paramError", `"room"`},
		{"chat.room.leave", data{"room": strings.Repeat("r", 33)}, 400, "paramError", "max=32"},
		{"chat.room.say", data{"room": "tech", "text": "x"}, 403, "notInRoom", ""},
		{"chat.room.say", data{"room": "lobby"}, 400, "paramError", `"text"`},
		{"chat.room.say", data{"room": "lobby", "text": " \n\u3000"}, 400, "textEmpty", ""},
		{"chat.room.say", data{"room": "lobby", "text": strings.Repeat("字", 501)}, 400, "paramError", "max=500"},
		{"chat.room.say", data{"room": "lobby", "text": "x", "key": strings.Repeat("k", 65)}, 400, "paramError", `"key"`},
		{"chat.room.online", data{"room": "lobby", "limit": 201}, 400, "paramError", "max=200"},
		{"chat.room.online", data{"room": "lobby", "after": -1}, 400, "paramError", `"after"`},
		{"chat.user.say", data{"text": "x"}, 400, "paramError", `"to"`},
		{"chat.user.say", data{"to": "b"}, 400, "paramError", `"text"`},
	} {
		if f := c.Call(tc.method, tc.in).Want(tc.status, tc.event); !strings.Contains(string(f.Param), tc.part) {
			t.Errorf("%s %v: %s", tc.method, tc.in, f.Param)
		}
	}
	c.Call("chat.room.say", data{"room": "lobby", "text": strings.Repeat("字", 500)}).Want(200, "roomSaySuccess")
	c.Call("chat.room.leave", data{"room": "music"}).Want(200, "roomLeaveSuccess") // even without a join
}

func TestWithoutIdentity(t *testing.T) {
	h := frameworktest.New(t, app.Controllers, frameworktest.Config(func(c *config.App) { c.Auth.Check = false }))
	h.DialToken("").Call("chat.room.list", nil).Want(403, "mustLogIn")
}

// A wall with the id of a user cannot join that user's inbox.
func TestSameIDOfAnotherType(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	a, b := h.Dial(user("1")), h.Dial(user("2"))
	screen := h.Dial(framework.Identity{ID: "1", Type: framework.TypeWall, Code: "Z"})
	a.Call("chat.user.open", nil).Want(200, "userOpenSuccess")
	screen.Call("chat.user.open", nil).Want(403, "mustLogIn")
	screen.Call("chat.room.join", inRoom(data{})).Want(403, "mustLogIn")
	b.Call("chat.user.say", data{"to": "1", "text": "hush"}).Want(200, "privateSaySuccess")
	a.WantPush("privateSay")
	screen.WantNothing()
}

// Views are saved in Redis under the configured prefix, and pushed to the members.
func TestViews(t *testing.T) {
	t.Parallel()
	h := frameworktest.New(t, app.Controllers, func(o *framework.Options) { o.Deps.Prefix, o.Deps.Log = "my:", zap.NewNop() })
	a := enter(h, "a", "")
	enter(h, "b", "")
	var v struct {
		Room  string
		Views int64
	}
	for v.Views < 2 {
		a.NextPush("roomViews").Into(&v)
	}
	if v.Room != "lobby" || v.Views != 2 {
		t.Fatalf("%+v", v)
	}
	if n, err := h.Redis.HGet(t.Context(), "my:PV:ROOM:lobby", "ROOM_TOTAL_PV").Int(); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	var list []struct {
		ID, Title string
		Online    int
		Views     int64
	}
	a.Call("chat.room.list", nil).Want(200, "roomListSuccess").Into(&list)
	if len(list) < 2 || list[0].ID != "lobby" || list[0].Title == "" || list[0].Online != 2 || list[0].Views != 2 || list[1].Views != 0 {
		t.Fatalf("%+v", list)
	}
	// An error of the counter keeps nobody out.
	if err := h.Redis.Set(t.Context(), "my:PV:ROOM:tech", "no hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	a.Call("chat.room.join", data{"room": "tech"}).Want(200, "roomJoinSuccess")
	a.Call("chat.room.list", nil).Want(200, "roomListSuccess")
	if err := h.Redis.Del(t.Context(), "my:PV:ROOM:tech").Err(); err != nil {
		t.Fatal(err)
	}
}

// The last views are saved when the worker ends.
func TestViewsAtTheEnd(t *testing.T) {
	t.Parallel()
	h := frameworktest.New(t, app.Controllers)
	enter(h, "a", "")
	if err := h.App.Shutdown(t.Context(), framework.CloseGoingAway, "over", 0); err != nil {
		t.Fatal(err)
	}
	if n, err := h.Redis.HGet(t.Context(), "PV:ROOM:lobby", "ROOM_TOTAL_PV").Int(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
}

// The module reserves its keys; what back ends read keeps its documented name.
func TestReserved(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	for name, want := range map[string]error{"PV:ROOM:lobby": framework.ErrReserved, "CHAT_ROOM_lobby": nil} {
		if err := h.App.Publish(name, framework.OK("e", "")); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
