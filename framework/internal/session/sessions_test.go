package session

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is the Sessions of a node that is alone, on loopback connections.
type fixture struct {
	*Sessions
	t        *testing.T
	ln       net.Listener
	last     int64         // fd
	messages chan struct{} // one for each message of a client
	ends     chan string   // fd, code and reason of each ended connection

	mu    sync.Mutex
	notes []string // calls of Cluster, Presence and Link
}

func newFixture(t *testing.T, cfg Config) *fixture {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, ln: ln, messages: make(chan struct{}, 10), ends: make(chan string, 100)}
	log := zaptest.NewLogger(t)
	cfg.Hub = hub.New(f, hub.Config{Log: log})
	cfg.History, err = history.New(history.Config{Link: f, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	life, end := context.WithCancel(context.Background())
	cfg.History.Serve(life, cfg.Hub.Rooms)
	cfg.Nodes = ask.New(ask.Config{
		Node: "a", Alone: true, Timeout: 1 << 40, Link: link.New(bus.Config{}, false), Here: func(fd int64) bool { return cfg.Hub.Get(fd) != nil },
		Log: log,
	})
	cfg.Link, cfg.Presence, cfg.Leaving, cfg.Cluster = f, f, f.leaving, func() Cluster { return f }
	cfg.Keys, cfg.SecondLogin = 2, cmp.Or(cfg.SecondLogin, loginAllow)
	cfg.Listener = func(name string) (string, error) {
		if name == "none" {
			return "", errors.New("no such controller")
		}
		return strings.ToLower(name), nil
	}
	if cfg.Life == nil {
		cfg.Life = life
	}
	cfg.Protect, cfg.Log = func(_ string, f func()) { f() }, log
	f.Sessions = NewSessions(cfg)
	t.Cleanup(func() {
		end()
		_ = ln.Close()
		if err := cfg.Hub.Drain(context.Background(), wire.CloseGoingAway, "", 0); err != nil {
			t.Error(err)
		}
		cfg.Hub.Close()
	})
	return f
}

// connect opens a connection with the next fd, and the client's end of it.
func (f *fixture) connect(id auth.Identity, seen map[string]room.Position) (*hub.Conn, net.Conn) {
	f.t.Helper()
	client, err := net.Dial("tcp", f.ln.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = client.Close() })
	nc, err := f.ln.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	f.last++
	c, err := f.cfg.Hub.Accept(nc.(*net.TCPConn), nil, f.last, id, "", "")
	if err != nil {
		f.t.Fatal(err)
	}
	c.Data = New(seen)
	r := &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}}
	if err := c.Serve(r, func() {}, nil); err != nil {
		f.t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(client), r); err != nil {
		f.t.Fatal(err)
	}
	return c, client
}

func (f *fixture) Message(*hub.Conn, []byte) { f.messages <- struct{}{} }

func (f *fixture) Closed(c *hub.Conn, code int, reason string, _ []string) {
	f.ends <- fmt.Sprint(c.FD, " ", code, " ", reason)
}

func (f *fixture) note(args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, strings.TrimSuffix(fmt.Sprintln(args...), "\n"))
}

// want checks the notes since the last call.
func (f *fixture) want(notes ...string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.notes, notes) {
		f.t.Errorf("noted %q, want %q", f.notes, notes)
	}
	f.notes = nil
}

func (f *fixture) KeyAdded(fd int64, key string)         { f.note("+key", fd, key) }
func (f *fixture) KeyRemoved(fd int64, key string)       { f.note("-key", fd, key) }
func (f *fixture) CloseKeyAdded(fd int64, key string)    { f.note("+closeKey", fd, key) }
func (f *fixture) CloseKeyRemoved(fd int64, key string)  { f.note("-closeKey", fd, key) }
func (f *fixture) ListenerAdded(fd int64, name string)   { f.note("+listener", fd, name) }
func (f *fixture) ListenerRemoved(fd int64, name string) { f.note("-listener", fd, name) }
func (f *fixture) leaving(p cluster.Present, notified bool) {
	f.note("leaving", p.ID, p.Room, notified)
}
func (f *fixture) Covers(room string) bool       { return room == "COVERED" }
func (f *fixture) Came(c *hub.Conn, room string) { f.note("came", c.FD, room) }
func (f *fixture) Walk()                         { f.note("walk") }

func (f *fixture) Send(m *bus.Message) error {
	f.note("send", m.Kind, m.Key, string(m.Body))
	return nil
}

func (f *fixture) History(context.Context, string, int64, int) (bus.Page, error) {
	return bus.Page{Epoch: "e", Offset: 7, First: 7}, nil
}

// Each change is recorded for Redis once, in its order, and only where something changes.
func TestChanges(t *testing.T) {
	f := newFixture(t, Config{})
	c, _ := f.connect(auth.Identity{ID: "7", Type: auth.TypeWechatUser}, nil)
	for range 2 {
		if err := f.Join(t.Context(), c, "r", Joining{}); err != nil {
			t.Error(err)
		}
		if f.AddCloseKey(c, "k1") != nil || f.AddCloseKey(c, "k2") != nil || f.AddListener(c, "Index") != nil {
			t.Error("refused")
		}
	}
	f.want("+key 1 r", "+closeKey 1 k1", "+closeKey 1 k2", "+listener 1 index")
	for what, err := range map[string]error{
		"a third close key":   f.AddCloseKey(c, "k3"),
		"a name that is none": f.AddCloseKey(c, ""),
		"an unknown listener": f.AddListener(c, "none"),
		"a room that is none": f.Join(t.Context(), c, "", Joining{}),
	} {
		if err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	entry := Entry(c, c.Rooms())
	want := cluster.Entry{FD: 1, UID: "7", Keys: []string{"r", "k1", "k2"}, Listeners: []string{"index"}, Auth: entry.Auth}
	if !reflect.DeepEqual(entry, want) || len(entry.Auth) == 0 {
		t.Errorf("%+v", entry)
	}
	if want.Auth = nil; !reflect.DeepEqual(Traces(c, c.Rooms()), want) {
		t.Errorf("%+v", Traces(c, c.Rooms()))
	}
	for i := range 2 {
		if f.Leave(c, "r") != (i == 0) {
			t.Error("left")
		}
		f.RemoveCloseKey(c, "k1")
		f.RemoveListener(c, "INDEX")
		f.RemoveListener(c, "none")
	}
	f.want("-key 1 r", "-closeKey 1 k1", "-listener 1 index")
}

// A room announces a connection from its join until its leave, under one uid.
func TestAnnounced(t *testing.T) {
	f := newFixture(t, Config{UIDTypes: []string{"*"}})
	c, _ := f.connect(auth.Identity{ID: "7", Type: "member", Nickname: "Li"}, nil)
	s := Of(c)
	if _ = f.Join(t.Context(), c, "early", Joining{Announce: true}); s.AnnouncedAs("early") != "" {
		t.Error("announced without a uid")
	}
	f.Identify(c)
	_ = f.Join(t.Context(), c, "plain", Joining{})
	_ = f.Join(t.Context(), c, "COVERED", Joining{})
	_ = f.Join(t.Context(), c, "asked", Joining{Announce: true})
	f.want("+key 1 early", "+key 1 plain", "+key 1 COVERED", "came 1 COVERED", "+key 1 asked", "came 1 asked")
	if rooms := s.Unannounced(); len(rooms) != 2 || s.AnnouncedAs("asked") != "7" || s.AnnouncedAs("plain") != "" {
		t.Error(rooms)
	}
	one := s.Coming(c, "asked")
	if one.ID != "7" || one.Nickname != "Li" || one.Ticket == "" || len(Entry(c, c.Rooms()).Present) != 0 {
		t.Errorf("%+v", one)
	}
	if !s.Announced("asked", one.Ticket, false) || s.Announced("asked", "another", true) || !s.Announced("asked", one.Ticket, true) {
		t.Error("the ticket")
	}
	if s.Coming(c, "asked").Ticket != "" || len(s.Unannounced()) != 1 {
		t.Error("still pending")
	}
	if e := Entry(c, c.Rooms()); len(e.Present) != 1 || e.Present[0].Room != "asked" {
		t.Errorf("%+v", e.Present)
	}
	f.Leave(c, "COVERED")
	f.Ended(c, []string{"asked", "plain"}, true)
	f.want("leaving 7 COVERED false", "-key 1 COVERED", "leaving 7 asked true")
}

func TestValues(t *testing.T) {
	f := newFixture(t, Config{})
	c, _ := f.connect(auth.Identity{}, nil)
	change := func(merge bool, values map[string]any) error {
		t.Helper()
		raw, err := Encode(values)
		if err != nil {
			t.Fatal(err)
		}
		return f.Change(c, raw, merge)
	}
	for _, step := range []struct {
		merge  bool
		values map[string]any
		want   string
	}{
		{true, map[string]any{"a": 1, "b": "x"}, `{"a":1,"b":"x"}`},
		{true, map[string]any{"b": nil, "c": []int{2}}, `{"a":1,"c":[2]}`},
		{false, map[string]any{"d": nil}, `{"d":null}`},
	} {
		err := change(step.merge, step.values)
		if got, _ := json.Marshal(Of(c).Values()); err != nil || string(got) != step.want {
			t.Errorf("%s %v, want %s", got, err, step.want)
		}
	}
	if err := change(true, map[string]any{"big": strings.Repeat("x", maxSize)}); err != ErrSize || len(Of(c).Values()) != 1 {
		t.Error(err)
	}
	for _, values := range []map[string]any{{"": 1}, {strings.Repeat("k", 129): 1}, {"f": func() {}}} {
		if _, err := Encode(values); err == nil {
			t.Errorf("%v is encoded", values)
		}
	}
}

// A question about a connection changes it as a call does.
func TestQuestions(t *testing.T) {
	f := newFixture(t, Config{})
	c, _ := f.connect(auth.Identity{}, nil)
	ctx := t.Context()
	if err := errors.Join(
		f.JoinFD(ctx, 1, "a", Joining{}), f.JoinFD(ctx, 1, "b", Joining{}), f.LeaveFD(ctx, 1, "a"), f.LeaveFD(ctx, 1, "other"), f.LeaveAllFD(ctx, 1),
		f.BindFD(ctx, 1, "u"), f.BindFD(ctx, 1, "v"), f.UnbindFD(ctx, 1, "u"), f.ChangeFD(ctx, 1, map[string]any{"k": 1}, false),
	); err != nil {
		t.Error(err)
	}
	values, err := f.ValuesFD(ctx, 1)
	if err != nil || string(values["k"]) != "1" || !slices.Equal(c.Users(), []string{"v"}) {
		t.Error(values, err, c.Users())
	}
	f.want("+key 1 a", "+key 1 b", "-key 1 a", "-key 1 b")
	c.SetClosingSoon()
	for what, err := range map[string]error{"closing soon": f.JoinFD(ctx, 1, "c", Joining{}), "unknown": f.BindFD(ctx, 2, "u")} {
		if !errors.Is(err, ask.ErrNoConnection) {
			t.Error(what, err)
		}
	}
	if err := f.ChangeFD(ctx, 1, map[string]any{"k": strings.Repeat("x", maxSize)}, false); err != ErrSize {
		t.Error(err)
	}
	if err := f.AddCloseKey(c, "WEBSOCKET_x"); err == nil {
		t.Error("a reserved name is taken")
	}
}

// A position that the client has seen is remembered until the join of its room, for few rooms.
func TestRecover(t *testing.T) {
	f := newFixture(t, Config{})
	c, _ := f.connect(auth.Identity{}, map[string]room.Position{"r0": {Offset: 7, Epoch: "e"}})
	for i := 1; i <= history.MaxRooms; i++ {
		r, err := f.Recover(t.Context(), c, "r"+strconv.Itoa(i), room.Position{})
		if want := i < history.MaxRooms; want != (err == nil && r.Pending) {
			t.Error(i, r, err)
		}
	}
	if !Of(c).awaits("r0") {
		t.Error("r0 is not awaited")
	}
	if err := f.Join(t.Context(), c, "r0", Joining{}); err != nil || Of(c).awaits("r0") {
		t.Error(err)
	}
	if r, err := f.Recover(t.Context(), c, "r0", room.Position{Offset: 7, Epoch: "e"}); err != nil || !r.Recovered || r.Offset != 7 {
		t.Errorf("%+v %v", r, err)
	}
}

// A back end's join from Redis does not undo a leave that happened while Redis was asked.
func TestAdopt(t *testing.T) {
	f := newFixture(t, Config{})
	c, _ := f.connect(auth.Identity{}, nil)
	away := errors.New("away")
	for _, test := range []struct {
		named func() (bool, error)
		err   error
		in    bool
	}{
		{func() (bool, error) { return false, nil }, nil, false},
		{func() (bool, error) { return true, away }, away, false},
		{func() (bool, error) { f.Leave(c, "r"); return true, nil }, nil, false},
		{func() (bool, error) { return true, nil }, nil, true},
	} {
		if err := f.Adopt(t.Context(), c, "r", test.named); err != test.err || c.InRoom("r") != test.in {
			t.Error(err, c.InRoom("r"))
		}
	}
}

// A session goes on in the next worker: pending announcements are made again.
func TestMove(t *testing.T) {
	f := newFixture(t, Config{UIDTypes: []string{"*"}, SecondLogin: loginRefuse})
	id := auth.Identity{ID: "7", Type: "member"}
	seen := map[string]room.Position{"later": {Offset: 3, Epoch: "e"}}
	from, _ := f.connect(id, seen)
	f.Identify(from)
	_ = f.AddCloseKey(from, "k")
	_ = f.AddListener(from, "index")
	_ = f.Bind(from, "8")
	_ = f.Join(t.Context(), from, "a", Joining{Announce: true})
	_ = f.Join(t.Context(), from, "b", Joining{Announce: true})
	Of(from).Announced("a", Of(from).Coming(from, "a").Ticket, true)
	_ = f.Change(from, map[string]json.RawMessage{"v": json.RawMessage("1")}, false)

	to, _ := f.connect(id, nil)
	f.Export(from, func(raw json.RawMessage) {
		s, err := f.Import(to, slices.Clone(raw))
		if err != nil {
			t.Fatal(err)
		}
		to.Data = s
	})
	got := Of(to)
	if !slices.Equal(to.Users(), []string{"7", "8"}) || !got.hasBoundLogin("8") || !got.awaits("later") || string(got.Values()["v"]) != "1" {
		t.Errorf("%+v", got)
	}
	if e := Entry(to, []string{"a", "b"}); !slices.Equal(e.Keys, []string{"a", "b", "k"}) || len(e.Listeners) != 1 || len(e.Present) != 1 {
		t.Errorf("%+v", e)
	}
	if ticket := got.Coming(to, "b").Ticket; ticket == "" || ticket == Of(from).Coming(from, "b").Ticket || got.Coming(to, "a").Ticket != "" {
		t.Error("tickets")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.notes[len(f.notes)-1] != "walk" {
		t.Errorf("%q", f.notes)
	}
}
