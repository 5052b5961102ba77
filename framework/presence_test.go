//go:build unix

package framework_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/framework/hub"
	"wsframe/library/config"
)

// outage holds back what a node says to Redis, as when the one or the other is gone.
type outage struct{ on atomic.Bool }

var errAway = errors.New("redis is away")

func (o *outage) wait(ctx context.Context) error {
	if !o.on.Load() {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(frameworktest.Timeout):
	}
	return errAway
}

func (o *outage) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (o *outage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := o.wait(ctx); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (o *outage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := o.wait(ctx); err != nil {
			for _, c := range cmds {
				c.SetErr(err)
			}
			return err
		}
		return next(ctx, cmds)
	}
}

// of gives the outage to one node.
func (o *outage) of(node string) frameworktest.Option {
	return func(f *framework.Options) {
		if f.NodeID == node {
			f.Deps.Redis.AddHook(o)
		}
	}
}

// shortLease makes a node's death a matter of seconds.
func shortLease(o *framework.Options) {
	o.Lease, o.StoreTimeout = 1500*time.Millisecond, 300*time.Millisecond
}

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
	if err := list[1].App.Shutdown(t.Context(), hub.CloseGoingAway, "stopped", 0); err != nil {
		t.Fatal(err)
	}
	q := comesTo(list[0], "q") // was never away
	wantUser(w, framework.EventLeft, "p")
	p := comesTo(list[0], "p")
	wantUser(w, framework.EventJoined, "p")
	w.WantNothing()
	p.Close()
	q.Close()
	wantUser(w, framework.EventLeft, "p")
	wantUser(w, framework.EventLeft, "q")
	wantEmpty(list[0])
}

// So is who had just left, or was still there, when a node died, once.
func TestPresenceOverDeath(t *testing.T) {
	t.Parallel()
	var dead outage
	list := frameworktest.NewCluster(t, 2, mountHall, shortLease, dead.of("node-2"), frameworktest.Quiet())
	w := watch(list[0])
	var there []*frameworktest.Client
	for _, id := range []string{"p", "q", "r", "s"} {
		there = append(there, comesTo(list[1], id))
		wantUser(w, framework.EventJoined, id)
	}
	there[0].Call("hall.leave", map[string]any{"room": "room"}).Want(200, "left")
	list[1].Flush()
	dead.on.Store(true)
	t.Cleanup(func() { dead.on.Store(false) }) // so that it can be stopped
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
	dead.on.Store(false)
	there[3].WantClose(hub.CloseRestart)
	z := comesTo(list[0], "z")
	wantUser(w, framework.EventJoined, "z")
	z.Close()
	wantUser(w, framework.EventLeft, "z")
	w.WantNothing()
}

// And on a node that is alone, when its worker crashes, and the next one while the first one's departures wait.
func TestPresenceOverCrash(t *testing.T) {
	t.Parallel()
	var dead [2]outage
	first := frameworktest.New(t, mountHall, frameworktest.Quiet())
	for _, id := range []string{"p", "q"} {
		comesTo(first, id)
	}
	first.Eventually("both are there", func() bool { return first.Redis.HLen(t.Context(), "WSFRAME_PRESENT_room").Val() == 2 })
	first.Flush()
	var last *frameworktest.Harness
	before := first.Redis
	server := first.Redis.(*redis.Client).Options()
	for i := range dead {
		client := redis.NewClient(&redis.Options{Addr: server.Addr, Password: server.Password, DisableIdentity: true})
		t.Cleanup(func() { _ = client.Close() })
		last = frameworktest.New(t, mountHall, frameworktest.Quiet(), func(o *framework.Options) {
			before.AddHook(&dead[i])
			dead[i].on.Store(true)
			o.Deps.Redis = client
		})
		t.Cleanup(func() { dead[i].on.Store(false) }) // so that it can be stopped
		before = client
		last.Eventually("the dead connections are cleaned up", func() bool { return client.SCard(t.Context(), "room").Val() == 0 })
	}
	w := watch(last)
	comesTo(last, "q")
	wantUser(w, framework.EventLeft, "p")
	comesTo(last, "p")
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

	// Who leaves before Redis has learned of him is announced all the same.
	z := comesTo(list[1], "y")
	wantUser(w, framework.EventJoined, "y")
	if err := list[0].Redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	z.Close()
	wantUser(w, framework.EventLeft, "y")
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

// rush joins more rooms than there is place for announcements.
type rush struct{}

func (rush) Join(c *framework.Ctx) (*framework.Reply, error) {
	for i := range 250 {
		if err := c.Join(fmt.Sprint("R", c.FD, ".", i), framework.Announce); err != nil {
			return nil, err
		}
	}
	return framework.OK("joined", ""), nil
}

// What exceeds the queue while Redis is away is announced when it is back, once.
func TestPresenceQueue(t *testing.T) {
	t.Parallel()
	var away outage
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("rush", &rush{})}, nil
	}, away.of("test"), frameworktest.Quiet(), func(o *framework.Options) { o.StoreTimeout = 500 * time.Millisecond })
	away.on.Store(true)
	t.Cleanup(func() { away.on.Store(false) })
	var clients []*frameworktest.Client
	for i := range 20 {
		c := h.Dial(user(fmt.Sprint("u", i)))
		c.Call("rush.join", nil).Want(200, "joined")
		clients = append(clients, c)
	}
	away.on.Store(false)
	for _, c := range clients {
		rooms := map[string]bool{}
		for range 250 {
			var in struct{ Room string }
			c.WantPush(framework.EventJoined).Into(&in)
			rooms[in.Room] = true
		}
		if len(rooms) != 250 {
			t.Fatalf("%d rooms", len(rooms))
		}
		c.WantNothing()
	}
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
	a.Close()
	w.WantPush(framework.EventLeft).WantParam(`{"room":"CHAT_1","id":"a","nickname":"na"}`)
	w.WantNothing()

	for _, bad := range []string{"", "["} {
		cfg := config.App{}
		cfg.Presence.Rooms = []string{bad}
		if _, err := framework.New(context.Background(), framework.Options{Config: cfg}); err == nil || !strings.Contains(err.Error(), "presence.rooms") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
