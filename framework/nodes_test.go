package framework_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// hall is a controller through which clients of a test join rooms and speak in them.
type hall struct{}

type hallIn struct {
	Room     string        `json:"room"`
	Text     string        `json:"text"`
	UID      string        `json:"uid"`
	Announce bool          `json:"announce"`
	Keep     framework.Int `json:"keep"`
}

func (hall) Join(c *framework.Ctx, in *hallIn) (*framework.Reply, error) {
	var o []framework.JoinOption
	if in.Announce {
		o = append(o, framework.Announce)
	}
	return framework.OK("joined", "", c.FD), c.Join(in.Room, o...)
}

func (hall) Leave(c *framework.Ctx, in *hallIn) (*framework.Reply, error) {
	c.Leave(in.Room)
	return framework.OK("left", ""), nil
}

func (hall) Say(c *framework.Ctx, in *hallIn) (*framework.Reply, error) {
	var o []framework.PublishOption
	if in.Keep > 0 {
		o = append(o, framework.Keep(int(in.Keep), time.Minute))
	}
	return framework.OK("said", ""), c.Publish(in.Room, framework.OK("say", "", in.Text), o...)
}

func (hall) Remember(c *framework.Ctx, in *hallIn) (*framework.Reply, error) {
	return framework.OK("remembered", ""), c.UpdateSession(map[string]any{"text": in.Text})
}

func mountHall(framework.Deps) ([]framework.Controller, error) {
	return []framework.Controller{framework.Mount("hall", &hall{})}, nil
}

// onNodes runs a test on one node that is alone and on three that share a store; at gives the node of that number.
func onNodes(t *testing.T, f func(t *testing.T, at func(i int) *frameworktest.Harness), options ...frameworktest.Option) {
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		h := frameworktest.New(t, mountHall, options...)
		f(t, func(int) *frameworktest.Harness { return h })
	})
	t.Run("three nodes", func(t *testing.T) {
		t.Parallel()
		list := frameworktest.NewCluster(t, 3, mountHall, options...)
		for _, h := range list { // all know all
			h.Eventually("three nodes", func() bool { nodes, err := h.App.Nodes(t.Context()); return err == nil && len(nodes) == 3 })
		}
		f(t, func(i int) *frameworktest.Harness { return list[i%3] })
	})
}

func user(id string) framework.Identity {
	return framework.Identity{ID: id, Type: framework.TypeWechatUser, Code: "1", Nickname: "n" + id}
}

func fdOf(c *frameworktest.Client, room string) (fd int64) {
	c.Call("hall.join", map[string]any{"room": room}).Want(200, "joined").Into(&fd)
	return fd
}

func TestSendsReachEveryNode(t *testing.T) {
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		var clients []*frameworktest.Client
		var fds []int64
		for i := range 6 {
			c := at(i).Dial(user(fmt.Sprint(i % 4))) // users 0 and 1 are there twice, on two nodes
			clients = append(clients, c)
			fds = append(fds, fdOf(c, "room"))
		}
		s := at(1).App
		push := func(text string) *framework.Reply { return framework.OK("push", "", text) }
		want := func(text string, to ...int) {
			t.Helper()
			for _, i := range to {
				clients[i].WantPush("push").WantParam(`"` + text + `"`)
			}
		}
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(s.SendToFD(fds[3], push("fd")))
		want("fd", 3)
		check(s.SendToUID("0", push("uid")))
		want("uid", 0, 4)
		check(s.SendToRoom("room", push("room")))
		want("room", 0, 1, 2, 3, 4, 5)
		check(s.SendToRoom("room", push("others"), framework.Except(fds[0], fds[2])))
		want("others", 1, 3, 4, 5)
		check(s.SendToAll(push("all"), framework.Except(fds[5])))
		want("all", 0, 1, 2, 3, 4)
		n, err := s.Reach(t.Context(), "1", push("reached"), framework.Except(fds[5]))
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
		want("reached", 1)
		if n, err := s.Reach(t.Context(), "nobody", push("x")); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		if err := s.SendToFD(1<<52, push("x")); at(0) == at(1) && !errors.Is(err, framework.ErrNoConnection) {
			t.Fatal(err)
		}
		for _, c := range clients {
			c.WantNothing()
		}
	})
}

// What Settle has waited for is in Redis, whatever becomes of this node; it waits for nobody where nothing is on its way.
func TestSettle(t *testing.T) {
	t.Parallel()
	h := frameworktest.NewCluster(t, 2, mountHall)[0]
	ctx := t.Context()
	h.App.Settle(ctx)
	for i := range 20 {
		room := fmt.Sprint("room", i) // in any shard
		if err := h.App.SendToRoom(room, framework.OK("push", "")); err != nil {
			t.Fatal(err)
		}
		h.App.Settle(ctx)
		found := false
		for shard := range 4 {
			list, err := h.Redis.XRange(ctx, fmt.Sprintf("WEBSOCKET_BUS:{s%d}", shard), "-", "+").Result()
			if err != nil {
				t.Fatal(err)
			}
			found = found || slices.ContainsFunc(list, func(m redis.XMessage) bool { return m.Values["k"] == room })
		}
		if !found {
			t.Fatalf("the push to %s is not in Redis", room)
		}
	}
}

// Every member gets a room's pushes in one order, whoever publishes from wherever.
func TestRoomOrderOnNodes(t *testing.T) {
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		const clients, each = 6, 60
		var all []*frameworktest.Client
		for i := range clients {
			c := at(i).Dial(user(fmt.Sprint(i)))
			fdOf(c, "room")
			all = append(all, c)
		}
		done := make(chan error, 3)
		for p := range 3 {
			go func() {
				var err error
				for i := range each {
					err = errors.Join(err, at(p).App.Publish("room", framework.OK("n", "", fmt.Sprintf("%d-%d", p, i))))
				}
				done <- err
			}()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		var first []string
		for _, c := range all {
			var got []string
			for range 3 * each {
				var text string
				c.WantPush("n").Into(&text)
				got = append(got, text)
			}
			if first == nil {
				first = got
			}
			if !slices.Equal(got, first) {
				t.Fatalf("two orders:\n%v\n%v", first, got)
			}
			for p := range 3 {
				i := 0
				for _, text := range got {
					if strings.HasPrefix(text, fmt.Sprintf("%d-", p)) {
						if text != fmt.Sprintf("%d-%d", p, i) {
							t.Fatalf("publisher %d: %s in the place of %d", p, text, i)
						}
						i++
					}
				}
			}
		}
	})
}

func TestCallsReachEveryNode(t *testing.T) {
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		ctx, s := t.Context(), at(0).App
		a, b, c := at(0).Dial(user("a")), at(1).Dial(user("b")), at(2).Dial(user("b"))
		fa, fb, fc := fdOf(a, "hall"), fdOf(b, "hall"), fdOf(c, "hall")
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, fd := range []int64{fa, fb, fc} {
			check(s.Join(ctx, fd, "extra"))
			check(s.BindUID(ctx, fd, "team"))
		}
		check(s.Leave(ctx, fb, "extra"))
		check(s.UnbindUID(ctx, fc, "team"))
		if n, err := s.RoomCount(ctx, "extra"); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		members, err := s.RoomMembers(ctx, "extra", 0, 10)
		check(err)
		if len(members) != 2 || members[0].FD != min(fa, fc) || members[1].FD != max(fa, fc) || members[0].Auth.Nickname == "" {
			t.Fatalf("%+v", members)
		}
		page, err := s.RoomMembers(ctx, "extra", members[0].FD, 1)
		check(err)
		if len(page) != 1 || page[0].FD != members[1].FD {
			t.Fatalf("%+v", page)
		}
		check(s.SendToUID("team", framework.OK("team", "")))
		a.WantPush("team")
		b.WantPush("team")
		c.WantNothing()

		counts, err := s.Counts(ctx)
		check(err)
		if counts.Connections != 3 || counts.UIDs != 3 || counts.Rooms != 2 || counts.Nodes < 1 {
			t.Fatalf("%+v", counts)
		}
		uids, err := s.UIDs(ctx, "a", 2)
		check(err)
		rooms, err := s.RoomNames(ctx, "", 10)
		check(err)
		if !slices.Equal(uids, []string{"b", "team"}) || !slices.Equal(rooms, []string{"extra", "hall"}) {
			t.Fatal(uids, rooms)
		}
		conns, err := s.Connections(ctx, 0, 2)
		check(err)
		if len(conns) != 2 || conns[0].FD >= conns[1].FD {
			t.Fatalf("%+v", conns)
		}
		for _, fd := range []int64{fa, fb} {
			if on, err := s.IsOnline(ctx, fd); !on || err != nil {
				t.Fatal(fd, err)
			}
		}
		if on, err := s.IsOnline(ctx, fc+1000); on || err != nil {
			t.Fatal(on, err)
		}
		for uid, want := range map[string]bool{"b": true, "team": true, "z": false} {
			if on, err := s.IsUIDOnline(ctx, uid); on != want || err != nil {
				t.Fatal(uid, on, err)
			}
		}
		// A session, from its own action and from elsewhere.
		b.Call("hall.remember", map[string]any{"text": "hi"}).Want(200, "remembered")
		check(s.UpdateSession(ctx, fb, map[string]any{"n": 1, "gone": nil}))
		values, err := s.Session(ctx, fb)
		check(err)
		if len(values) != 2 || string(values["text"]) != `"hi"` || string(values["n"]) != "1" {
			t.Fatalf("%s", values)
		}
		check(s.SetSession(ctx, fb, map[string]any{"only": true}))
		if values, err = s.Session(ctx, fb); err != nil || len(values) != 1 {
			t.Fatal(values, err)
		}
		if err := s.UpdateSession(ctx, fb, map[string]any{"big": strings.Repeat("x", 20_000)}); err == nil {
			t.Fatal("20 KB fit")
		}

		check(s.SendToFD(fb, framework.OK("last", "")))
		check(s.Kick(ctx, fb, 4321, "out"))
		b.WantPush("last")
		b.WantClose(4321)
		if n, err := s.KickUID(ctx, "b", 0, ""); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if on, err := s.IsUIDOnline(ctx, "b"); on || err != nil {
			t.Errorf("who was kicked is online: %v, %v", on, err)
		}
		c.WantClose(framework.CloseKicked)
		if n, err := s.DismissRoom(ctx, "hall"); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		check(s.LeaveAll(ctx, fa))
		at(0).Eventually("no room is left", func() bool { // those who were kicked leave theirs at their end
			rooms, err = s.RoomNames(ctx, "", 10)
			return err == nil && len(rooms) == 0
		})
		at(0).Eventually("no key is left but a's", func() bool {
			left, err := s.IsUIDOnline(ctx, "b")
			return err == nil && !left
		})
	})
}

func TestBadCalls(t *testing.T) {
	h := frameworktest.New(t, mountHall)
	ctx, s := t.Context(), h.App
	long := strings.Repeat("长", 65)
	c := h.Dial(user("a"))
	fd := fdOf(c, "hall")
	cases := map[string]struct {
		err  error
		want error
	}{
		"room with a space":   {s.Publish("a b", framework.OK("x", "")), framework.ErrName},
		"no room":             {s.Join(ctx, fd, ""), framework.ErrName},
		"long room":           {s.Join(ctx, fd, strings.Repeat("r", 129)), framework.ErrName},
		"long Chinese room":   {s.Join(ctx, fd, strings.Repeat("房", 128)), nil},
		"longer Chinese room": {s.Join(ctx, fd, strings.Repeat("房", 129)), framework.ErrName},
		"long uid":            {s.SendToUID(long, framework.OK("x", "")), framework.ErrUID},
		"control byte in uid": {s.BindUID(ctx, fd, "a\x00"), framework.ErrUID},
		"unknown fd":          {s.Join(ctx, fd+1, "r"), framework.ErrNoConnection},
		"unknown fd, kick":    {s.Kick(ctx, fd+1, 0, ""), framework.ErrNoConnection},
		"negative fd":         {s.Leave(ctx, -1, "r"), framework.ErrNoConnection},
		"too large":           {s.Publish("r", framework.OK("x", "", strings.Repeat("x", 2<<20))), framework.ErrTooLarge},
	}
	for name, c := range cases {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	for name, err := range map[string]error{
		"code 1006":   s.Kick(ctx, fd, 1006, ""),
		"long reason": s.Kick(ctx, fd, 4000, strings.Repeat("x", 124)),
		"limit 0":     func() error { _, err := s.Connections(ctx, 0, 0); return err }(),
		"limit 1001":  func() error { _, err := s.UIDs(ctx, "", 1001); return err }(),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if ok, err := s.IsOnline(ctx, 0); ok || err != nil {
		t.Error(ok, err)
	}
	c.WantNothing()
}

func TestSecondLogin(t *testing.T) {
	t.Parallel()
	policy := func(p string) frameworktest.Option {
		return frameworktest.Config(func(c *config.App) { c.Users.SecondLogin = p })
	}
	// loggedIn gives a client on the first node whose login stands in its place on all nodes.
	loggedIn := func(t *testing.T, at func(int) *frameworktest.Harness) (a *frameworktest.Client, fd int64) {
		a = at(0).Dial(user("u"))
		fd = fdOf(a, "hall") // it is read, so it is bound
		if err := at(0).App.SendToUID("u", framework.OK("behind the login", "")); err != nil {
			t.Fatal(err)
		}
		a.WantPush("behind the login")
		if _, err := at(0).App.RoomCount(t.Context(), "u"); err != nil { // a question on the push's way: all nodes have got both
			t.Fatal(err)
		}
		return a, fd
	}
	t.Run("replace", func(t *testing.T) {
		onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
			a, _ := loggedIn(t, at)
			b := at(1).Dial(user("u"))
			a.WantClose(framework.CloseReplaced)
			b.WantNothing()
		}, policy("replace"))
	})
	t.Run("refuse", func(t *testing.T) {
		onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
			a, _ := loggedIn(t, at)
			stop := a.Listen()
			for i := range 3 { // here and elsewhere
				at(i).Dial(user("u")).WantClose(framework.CloseRefused)
			}
			stop()
			a.WantNothing()
		}, policy("refuse"))
	})
	// A client that has lost its network leaves a connection which nobody answers on: it must not keep its owner out.
	t.Run("refuse, but silent", func(t *testing.T) {
		onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
			a, fd := loggedIn(t, at) // from here on it does not read
			b := at(1).Dial(user("u"))
			stop := b.Listen()
			at(0).Eventually("a has lost its place", func() bool { return at(0).App.Hub().Get(fd) == nil })
			a.WantClose(framework.CloseReplaced)
			at(2).Dial(user("u")).WantClose(framework.CloseRefused) // b has the place now
			stop()
			b.WantNothing()
		}, policy("refuse"))
	})
	t.Run("allow", func(t *testing.T) {
		onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
			a, b := at(0).Dial(user("u")), at(1).Dial(user("u"))
			a.WantNothing()
			b.WantNothing()
		})
	})
	// However many log in at once, one stays, whether they answer or not.
	for _, p := range []string{"replace", "refuse"} {
		for _, answers := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s at once, answering %t", p, answers), func(t *testing.T) {
				onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
					for i := range 6 {
						c := at(i).Dial(user("u"))
						if answers {
							go c.Listen()
						}
					}
					at(0).Eventually("one stays", func() bool {
						n, err := at(0).App.Counts(t.Context())
						return err == nil && n.Connections == 1
					})
				}, policy(p))
			})
		}
	}
}

// offsets of pushes that a client gets.
func wantOffsets(t *testing.T, c *frameworktest.Client, from, to int64) (epoch string) {
	t.Helper()
	for i := from; i <= to; i++ {
		f := c.WantPush("say")
		if f.Offset != i || f.Room != "room" || f.Epoch == "" {
			t.Fatalf("offset %d of %s in the place of %d", f.Offset, f.Room, i)
		}
		epoch = f.Epoch
	}
	return epoch
}

func TestHistoryAndRecovery(t *testing.T) {
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		speaker := at(1).Dial(user("s"))
		a := at(0).Dial(user("a"))
		fdOf(a, "room")
		var witnesses []*frameworktest.Client
		for i := range 3 {
			w := at(i).Dial(user("w"))
			fdOf(w, "room")
			witnesses = append(witnesses, w)
		}
		said := int64(0)
		say := func(n int) { // and have it reach all nodes
			t.Helper()
			for i := range n {
				speaker.Call("hall.say", map[string]any{"room": "room", "text": fmt.Sprint(i), "keep": 50}).Want(200, "said")
			}
			for _, w := range witnesses {
				wantOffsets(t, w, said+1, said+int64(n))
			}
			said += int64(n)
		}
		say(5)
		epoch := wantOffsets(t, a, 1, 5)
		a.Vanish()
		say(10)
		recovered := func(c *frameworktest.Client) (r struct {
			Room      string
			Recovered bool
			Count     int
			Offset    int64
			Reason    string
		}) {
			t.Helper()
			c.WantPush("sysRecovered").Into(&r)
			return r
		}

		// By the query, through another node: what was missed comes with the join, before what is new.
		b := at(2).DialQuery(user("a"), "recover=room:"+epoch+":5")
		b.Call("hall.join", map[string]any{"room": "room"}).Want(200, "joined")
		if r := recovered(b); !r.Recovered || r.Count != 10 || r.Offset != 15 {
			t.Fatalf("%+v", r)
		}
		wantOffsets(t, b, 6, 15)
		say(2)
		wantOffsets(t, b, 16, 17)

		// By sys.recover before the join, and behind it.
		c := at(0).Dial(user("c"))
		c.Call("sys.recover", map[string]any{"room": "room", "offset": 10, "epoch": epoch}).Want(200, "sysRecover")
		c.WantNothing()
		fdOf(c, "room")
		if r := recovered(c); !r.Recovered || r.Count != 7 {
			t.Fatalf("%+v", r)
		}
		wantOffsets(t, c, 11, 17)
		d := at(0).Dial(user("d"))
		fdOf(d, "room")
		say(1)
		wantOffsets(t, d, 18, 18)
		d.Call("sys.recover", map[string]any{"room": "room", "offset": "15", "epoch": epoch}).Want(200, "sysRecover")
		wantOffsets(t, d, 16, 17) // 18 it has got live, before
		d.WantNothing()

		// What cannot be recovered is said.
		for _, bad := range []struct{ query, reason string }{
			{"recover=room:" + epoch + ":99", "future"},
			{"recover=room:other:3", "epoch"},
			{"recover=room:" + epoch + ":-1", "future"},
		} {
			e := at(1).DialQuery(user("e"), bad.query)
			fdOf(e, "room")
			if r := recovered(e); r.Recovered || r.Reason != bad.reason {
				t.Fatalf("%s: %+v", bad.query, r)
			}
			e.WantNothing()
		}
		say(60) // only 50 are kept
		e := at(1).DialQuery(user("e"), "recover=room:"+epoch+":18")
		fdOf(e, "room")
		if r := recovered(e); r.Recovered || r.Reason != "gone" || r.Offset != 78 {
			t.Fatalf("%+v", r)
		}
		for _, garbage := range []string{"recover=", "recover=%zz", "recover=room", "recover=::", "recover=room:x:y", "recover=" + strings.Repeat("r", 200) + ":a:1"} {
			g := at(1).DialQuery(user("g"), garbage)
			fdOf(g, "room")
			g.WantNothing()
		}

		// Paging.
		var page struct {
			Epoch         string
			Offset, First int64
			Items         []struct {
				Offset int64
				Param  string
				Room   string
			}
			Times []int64
		}
		history := func(data map[string]any) (from, to int64) {
			t.Helper()
			data["room"] = "room"
			page.Items = nil
			e.Call("sys.history", data).Want(200, "sysHistory").Into(&page)
			if page.Offset != 78 || page.First != 29 || page.Epoch != epoch || len(page.Times) != len(page.Items) {
				t.Fatalf("%+v", page)
			}
			if len(page.Items) == 0 {
				return 0, 0
			}
			return page.Items[0].Offset, page.Items[len(page.Items)-1].Offset
		}
		for _, c := range []struct {
			data     map[string]any
			from, to int64
		}{
			{map[string]any{}, 59, 78}, {map[string]any{"limit": 5}, 74, 78}, {map[string]any{"after": 30, "limit": 3}, 31, 33},
			{map[string]any{"before": 59, "limit": "10"}, 49, 58}, {map[string]any{"before": 1}, 0, 0}, {map[string]any{"after": 78}, 0, 0},
			{map[string]any{"after": 1000}, 0, 0}, {map[string]any{"before": 31, "limit": 10}, 29, 30},
		} {
			if from, to := history(c.data); from != c.from || to != c.to {
				t.Errorf("%v: %d to %d, want %d to %d", c.data, from, to, c.from, c.to)
			}
		}
		speaker.Call("sys.history", map[string]any{"room": "room"}).Want(403, "notInRoom")
		speaker.Call("sys.history", map[string]any{"room": "a b"}).Want(400, "roomError")
		speaker.Call("sys.recover", nil).Want(400, "roomError")
		speaker.Call("sys.recover", map[string]any{"room": "a b"}).Want(400, "roomError")
	})
}

// What a client asks for twice comes once, and what it asks for again and again costs Redis no more than it can have missed, and some.
func TestRecoveryIsBounded(t *testing.T) {
	t.Parallel()
	h := frameworktest.New(t, mountHall, frameworktest.Config(func(c *config.App) { c.Limits.MessageRate = 0 }))
	c, before := h.Dial(user("a")), h.Dial(user("b"))
	fdOf(before, "room")
	c.Call("hall.say", map[string]any{"room": "room", "keep": 50}).Want(200, "said")
	wantOffsets(t, before, 1, 1)
	fdOf(c, "room")
	for range 5 {
		c.Call("hall.say", map[string]any{"room": "room", "keep": 50}).Want(200, "said")
	}
	epoch := wantOffsets(t, c, 2, 6)
	var results []struct {
		Room      string
		Recovered bool
		Count     int
		Reason    string
	}
	one := map[string]any{"room": "room", "epoch": epoch, "offset": 0}
	same := map[string]any{"room": "room", "epoch": epoch, "offset": 0, "rooms": slices.Repeat([]any{one}, 32)}
	c.Call("sys.recover", same).Want(200, "sysRecover").Into(&results)
	if len(results) != 1 || !results[0].Recovered || results[0].Count != 1 {
		t.Errorf("%+v", results)
	}
	wantOffsets(t, c, 1, 1)
	c.WantNothing()

	var rooms []any
	for i := range 32 {
		room := fmt.Sprint("r", i)
		fdOf(c, room)
		rooms = append(rooms, map[string]any{"room": room, "epoch": "", "offset": 0})
	}
	refused := func() int {
		t.Helper()
		c.Call("sys.recover", map[string]any{"rooms": rooms}).Want(200, "sysRecover").Into(&results)
		n := 0
		for _, r := range results {
			if r.Reason == "tooOften" && !r.Recovered {
				n++
			}
		}
		return n
	}
	for range 8 {
		if n := refused(); n > 0 {
			t.Fatalf("%d are refused", n)
		}
	}
	h.Eventually("an end of it", func() bool { return refused() > 0 })
	h.Eventually("a new begin", func() bool { return refused() < 32 })
}

// The configuration says which rooms keep a history, and plain pushes stay in their order with kept ones.
func TestHistoryRules(t *testing.T) {
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		c := at(0).Dial(user("a"))
		fdOf(c, "CHAT_1")
		for i := range 20 {
			c.Call("hall.say", map[string]any{"room": "CHAT_1", "text": fmt.Sprint(i)})
		}
		for i := range 20 {
			if f := c.WantPush("say").WantParam(fmt.Sprintf(`"%d"`, i)); f.Offset != int64(i+1) {
				t.Fatal(f.Offset)
			}
		}
		page, err := at(1).App.History(t.Context(), "CHAT_1", -1, 3)
		if err != nil || len(page.Items) != 3 || page.Items[2].Offset != 20 || !json.Valid(page.Items[2].Push) {
			t.Fatal(page, err)
		}
	}, frameworktest.Config(func(c *config.App) { c.History.Rooms = []string{"CHAT_*:100:1h"} }))

	for _, bad := range []string{"x", "x:1", "x:0:1h", "x:1:1", "[:1:1h", ":1:1h", "x:1000000:1h"} {
		cfg := config.App{}
		cfg.History.Rooms = []string{bad}
		if _, err := framework.New(context.Background(), framework.Options{Config: cfg}); err == nil || !strings.Contains(err.Error(), "history.rooms") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPresence(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		watcher := at(0).Dial(user("w"))
		fdOf(watcher, "room")
		join := func(i int) *frameworktest.Client {
			c := at(i).Dial(user("p"))
			c.Call("hall.join", map[string]any{"room": "room", "announce": true}).Want(200, "joined")
			return c
		}
		a := join(1)
		watcher.WantPush(framework.EventJoined).WantParam(`{"room":"room","id":"p","nickname":"np"}`)
		b := join(2) // the same user again
		a.Vanish()   // is still there
		watcher.WantNothing()
		b.Vanish()
		c := join(0) // a reconnect
		watcher.WantNothing()
		c.Call("hall.leave", map[string]any{"room": "room"}).Want(200, "left")
		watcher.WantPush(framework.EventLeft).WantParam(`{"room":"room","id":"p","nickname":"np"}`)
		watcher.WantNothing()
	})
}
