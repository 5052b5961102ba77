//go:build unix

package framework_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// shortLease makes a node's death a matter of seconds.
func shortLease(o *framework.Options) { o.Lease, o.StoreTimeout = 3*time.Second, 500*time.Millisecond }

// inStoreOf has a server share the store of another one that is alone: as its next worker.
func inStoreOf(h *frameworktest.Harness, reload bool) frameworktest.Option {
	return func(o *framework.Options) { o.Deps.Redis, o.Reload = h.Redis, reload }
}

func comesTo(h *frameworktest.Harness, id string) *frameworktest.Client {
	c := h.Dial(user(id))
	c.Call("hall.join", map[string]any{"room": "room", "announce": true}).Want(200, "joined")
	return c
}

func watch(h *frameworktest.Harness) *frameworktest.Client {
	c := h.Dial(user("watcher"))
	fdOf(c, "room")
	return c
}

func wantUser(c *frameworktest.Client, event, id string) {
	c.WantPush(event).WantParam(fmt.Sprintf(`{"room":"room","id":%q,"nickname":"n%s"}`, id, id))
}

// wantUsers is wantUser for those who come or leave at the same time.
func wantUsers(t *testing.T, c *frameworktest.Client, event string, ids ...string) {
	t.Helper()
	var got []string
	for range ids {
		var who struct{ ID string }
		c.WantPush(event).Into(&who)
		got = append(got, who.ID)
	}
	if slices.Sort(got); !slices.Equal(got, ids) {
		t.Errorf("%s of %q, not %q", event, got, ids)
	}
}

// wantEmpty waits until Redis has nobody in the room, and nothing to look at.
func wantEmpty(h *frameworktest.Harness) {
	h.Eventually("nothing is left of those who left", func() bool {
		n, err := h.Redis.Exists(context.Background(), "WSFRAME_PRESENT_room", "WSFRAME_LEAVING").Result()
		return err == nil && n == 0
	})
}

// Who left with a node that was stopped is announced by another one, and so is his return.
func TestPresenceOverStop(t *testing.T) {
	t.Parallel()
	list := frameworktest.NewCluster(t, 2, mountHall)
	w := watch(list[0])
	comesTo(list[1], "p")
	wantUser(w, framework.EventJoined, "p")
	comesTo(list[1], "q")
	wantUser(w, framework.EventJoined, "q")
	if err := list[1].App.Shutdown(t.Context(), framework.CloseGoingAway, "stopped", 0); err != nil {
		t.Fatal(err)
	}
	q := comesTo(list[0], "q") // was never away
	wantUser(w, framework.EventLeft, "p")
	p := comesTo(list[0], "p")
	wantUser(w, framework.EventJoined, "p")
	w.WantNothing()
	p.Close()
	q.Close()
	wantUsers(t, w, framework.EventLeft, "p", "q")
	wantEmpty(list[0])
}

// So is who had just left, or was still there, when a node died, once.
func TestPresenceOverDeath(t *testing.T) {
	t.Parallel()
	option, proxy := behindProxy(t, "node-2")
	list := frameworktest.NewCluster(t, 2, mountHall, shortLease, option, frameworktest.Quiet())
	w := watch(list[0])
	var there []*frameworktest.Client
	for _, id := range []string{"p", "q", "r", "s"} {
		there = append(there, comesTo(list[1], id))
		wantUser(w, framework.EventJoined, id)
	}
	there[0].Call("hall.leave", map[string]any{"room": "room"}).Want(200, "left")
	list[1].Flush()
	release := proxy().Hold()
	t.Cleanup(release) // so that it can be stopped
	for _, c := range there[:3] {
		c.Vanish()
	}
	comesTo(list[0], "q")
	wantUser(w, framework.EventLeft, "p")
	wantUser(w, framework.EventLeft, "r")
	wantUser(w, framework.EventLeft, "s")
	comesTo(list[0], "r")
	wantUser(w, framework.EventJoined, "r")

	// It was only frozen: its connections' ends are told already.
	release()
	there[3].WantClose(framework.CloseRestart)
	z := comesTo(list[0], "z")
	wantUser(w, framework.EventJoined, "z")
	z.Close()
	wantUser(w, framework.EventLeft, "z")
	w.WantNothing()
}

// And on a node that is alone, when its worker crashes, and the next one while the first one's departures wait.
func TestPresenceOverCrash(t *testing.T) {
	t.Parallel()
	option, proxy := behindProxy(t, "test")
	first := frameworktest.New(t, mountHall, option, frameworktest.Quiet())
	for _, id := range []string{"p", "q"} {
		comesTo(first, id)
	}
	first.Eventually("both are there", func() bool { return first.Redis.HLen(t.Context(), "WSFRAME_PRESENT_room").Val() == 2 })
	first.Flush()
	h := first
	for range 2 {
		t.Cleanup(proxy().Hold()) // so that it can be stopped
		h = frameworktest.New(t, mountHall, inStoreOf(first, false), option, frameworktest.Quiet())
		h.Eventually("the dead connections are cleaned up", func() bool { return first.Redis.SCard(t.Context(), "room").Val() == 0 })
	}
	w := watch(h)
	comesTo(h, "q")
	wantUser(w, framework.EventLeft, "p")
	comesTo(h, "p")
	wantUser(w, framework.EventJoined, "p")
	w.WantNothing()
}

// An emptied Redis learns who is there before somebody is announced twice, and departures go on.
func TestPresenceOverFlushAll(t *testing.T) {
	t.Parallel()
	list := frameworktest.NewCluster(t, 2, mountHall, shortLease)
	w := watch(list[0])
	p := comesTo(list[1], "p")
	wantUser(w, framework.EventJoined, "p")
	if err := list[0].Redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	list[0].Eventually("Redis knows who is there", func() bool {
		ok, err := list[0].Redis.HExists(t.Context(), "WSFRAME_PRESENT_room", "p").Result()
		return err == nil && ok
	})
	tab := comesTo(list[0], "p")
	comesTo(list[0], "z") // behind him
	wantUser(w, framework.EventJoined, "z")
	p.Close()
	tab.Close()
	wantUser(w, framework.EventLeft, "p")
	w.WantNothing()
}

// Who leaves just before Redis is emptied, or before it has learned of him again, is announced all the same.
func TestLeavingAtFlushAll(t *testing.T) {
	t.Parallel()
	list := frameworktest.NewCluster(t, 2, mountHall, shortLease)
	w := watch(list[0])
	before, after := comesTo(list[1], "x"), comesTo(list[1], "y")
	wantUsers(t, w, framework.EventJoined, "x", "y")
	before.Close()
	list[0].Eventually("it is noted", func() bool {
		n, err := list[0].Redis.ZCard(t.Context(), "WSFRAME_LEAVING").Result()
		return err == nil && n == 1
	})
	time.Sleep(50 * time.Millisecond) // the node has heard that it is
	if err := list[0].Redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	after.Close()
	wantUsers(t, w, framework.EventLeft, "x", "y")
	w.WantNothing()
}

// A reload announces nothing by itself, and forgets nobody.
func TestPresenceOverReload(t *testing.T) {
	t.Parallel()
	first := frameworktest.New(t, mountHall)
	next := frameworktest.New(t, mountHall, inStoreOf(first, true))
	w := watch(first)
	p, tab, q := comesTo(first, "p"), comesTo(first, "p"), comesTo(first, "q")
	wantUser(w, framework.EventJoined, "p")
	wantUser(w, framework.EventJoined, "q")
	tab.Call("hall.leave", map[string]any{"room": "room"}).Want(200, "left") // p is there all the same
	q.Call("hall.leave", map[string]any{"room": "room"}).Want(200, "left")
	if gave, _ := move(t, first.App, next.App); gave.Connections != 4 {
		t.Fatalf("%+v", gave)
	}
	wantUser(w, framework.EventLeft, "q")
	first.Eventually("both are looked at", func() bool {
		n, err := first.Redis.Exists(t.Context(), "WSFRAME_LEAVING").Result()
		return err == nil && n == 0
	})
	comesTo(next, "p")
	comesTo(next, "z") // behind him
	wantUser(w, framework.EventJoined, "z")
	p.Call("hall.leave", map[string]any{"room": "room"}).Want(200, "left")
	w.WantNothing()
}

// The configuration says which rooms announce all their members.
func TestPresenceRooms(t *testing.T) {
	t.Parallel()
	h := frameworktest.New(t, mountHall, frameworktest.Config(func(c *config.App) { c.Presence.Rooms = []string{"VIP", "CHAT_*"} }))
	w := h.Dial(user("w"))
	fdOf(w, "CHAT_1")
	w.WantPush(framework.EventJoined).WantParam(`{"room":"CHAT_1","id":"w","nickname":"nw"}`)
	fdOf(w, "OTHER")
	a := h.Dial(user("a"))
	fdOf(a, "OTHER")
	fdOf(a, "CHAT_1")
	w.WantPush(framework.EventJoined).WantParam(`{"room":"CHAT_1","id":"a","nickname":"na"}`)
	w.WantNothing()

	for _, bad := range []string{"", "["} {
		cfg := config.App{}
		cfg.Presence.Rooms = []string{bad}
		if _, err := framework.New(context.Background(), framework.Options{Config: cfg}); err == nil || !strings.Contains(err.Error(), "presence.rooms") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
