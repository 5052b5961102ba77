package framework_test

import (
	"fmt"
	"slices"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

func screen(id string) framework.Identity {
	return framework.Identity{ID: id, Type: framework.TypeWall, Code: "Z", Nickname: "screen"}
}

func uidTypes(types ...string) frameworktest.Option {
	return frameworktest.Config(func(c *config.App) { c.Users.UIDTypes = types })
}

// A user's pushes reach connections of the types whose ids are uids, and no other that has the same
// id.
func TestUIDTypes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		options []frameworktest.Option
		screen  bool // is reached by its id
		user    bool
	}{
		{"default", nil, false, true},
		{"compat", []frameworktest.Option{frameworktest.Config(func(c *config.App) { c.Protocol.Compat = "mswoole" })}, false, true},
		{"listed", []frameworktest.Option{uidTypes("wall", "guest")}, true, false},
		{"another case", []frameworktest.Option{uidTypes("Wall", "wechatuser")}, false, false},
		{"all", []frameworktest.Option{uidTypes("*")}, true, true},
		{"none", []frameworktest.Option{uidTypes()}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := frameworktest.New(t, mountHall, tc.options...)
			u, w := h.Dial(user("1")), h.Dial(screen("1"))
			for c, reached := range map[*frameworktest.Client]bool{u: tc.user, w: tc.screen} {
				fd := fdOf(c, "hall")
				if uids := h.App.Hub().Get(fd).Users(); slices.Equal(uids, []string{"1"}) != reached || len(uids) > 1 {
					t.Errorf("%d has the uids %v", fd, uids)
				}
			}
			if err := h.App.SendToUID("1", framework.OK("private", "")); err != nil {
				t.Fatal(err)
			}
			if err := h.App.SendToAll(framework.OK("all", "")); err != nil {
				t.Fatal(err)
			}
			for c, reached := range map[*frameworktest.Client]bool{u: tc.user, w: tc.screen} {
				if reached {
					c.WantPush("private")
				}
				c.WantPush("all")
			}
		})
	}
}

// What an application binds is bound whatever the type, and stays so when the connection moves to
// another worker.
func TestBindOfAnotherType(t *testing.T) {
	h := frameworktest.New(t, mountHall)
	w := h.Dial(screen("1"))
	fd := fdOf(w, "hall")
	for _, uid := range []string{"1", "screen-1"} {
		if err := h.App.BindUID(t.Context(), fd, uid); err != nil {
			t.Fatal(err)
		}
		if err := h.App.SendToUID(uid, framework.OK("private", "")); err != nil {
			t.Fatal(err)
		}
		w.WantPush("private")
	}
}

// A second login is one of the same user: a screen with a user's id is none.
func TestSecondLoginOfAnotherType(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"replace", "refuse"} {
		t.Run(policy, func(t *testing.T) {
			h := frameworktest.New(t, mountHall, frameworktest.Config(func(c *config.App) { c.Users.SecondLogin = policy }))
			u := h.Dial(user("1"))
			fdOf(u, "hall")
			w := h.Dial(screen("1"))
			fdOf(w, "hall")
			var stop func()
			if policy == "refuse" {
				stop = u.Listen()
			}
			u2 := h.Dial(user("1"))
			map[string]*frameworktest.Client{"replace": u, "refuse": u2}[policy].WantClose(map[string]int{"replace": 4009, "refuse": 4010}[policy])
			if stop != nil {
				stop()
			}
			w.Call("hall.say", map[string]any{"room": "nobody", "text": "x"}).Want(200, "said")
		})
	}
}

// Members hear of users by their uid: of a connection without one they hear nothing, and a screen
// is not the user whose id it has.
func TestPresenceOfAnotherType(t *testing.T) {
	h := frameworktest.New(t, mountHall)
	watcher := h.Dial(user("watcher"))
	fdOf(watcher, "r")
	join := map[string]any{"room": "r", "announce": true}
	h.Dial(screen("1")).Call("hall.join", join).Want(200, "joined")
	bound := h.Dial(screen("2"))
	if err := h.App.BindUID(t.Context(), fdOf(bound, "hall"), "screen-2"); err != nil {
		t.Fatal(err)
	}
	bound.Call("hall.join", join).Want(200, "joined")
	watcher.WantPush(framework.EventJoined).WantParam(`{"room":"r","id":"screen-2","nickname":"screen"}`)
	h.Dial(user("1")).Call("hall.join", join).Want(200, "joined") // he was not here before
	watcher.WantPush(framework.EventJoined).WantParam(`{"room":"r","id":"1","nickname":"n1"}`)
}

var refusing = frameworktest.Config(func(c *config.App) { c.Users.SecondLogin = "refuse" })

// An action that runs keeps a connection from reading, not from being one that answers.
func TestSecondLoginUnderAction(t *testing.T) {
	gate := make(chan struct{})
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("s", &slow{gate})}, nil
	}, refusing)
	a := h.Dial(user("u"))
	a.WantNothing()
	a.Send(`{"method":"s.wait","id":1}`)
	h.Eventually("the action runs", func() bool { in, _ := h.App.Hub().User("u")[0].Counts(); return in == 2 })
	stop := a.Listen()
	h.Dial(user("u")).WantClose(framework.CloseRefused)
	close(gate)
	stop()
	a.NextPush("waited")
}

// A login that waits for an earlier connection's answer goes on waiting in the next worker.
func TestSecondLoginTransfer(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{true, false} {
		for _, answers := range []bool{true, false} {
			t.Run(fmt.Sprintf("alone %t, answers %t", alone, answers), func(t *testing.T) {
				t.Parallel()
				old, next := frameworktest.NewWorkers(t, alone, mountHall, refusing)
				a := old.Dial(user("u"))
				fd := fdOf(a, "hall")
				b := old.Dial(user("u"))
				fdOf(b, "hall")
				old.Eventually("the second login waits", func() bool { return old.App.LoginsWait("u") })
				move(t, old.App, next.App)
				if answers {
					stop := a.Listen()
					b.WantClose(framework.CloseRefused)
					stop()
					a.WantNothing()
					return
				}
				stop := b.Listen()
				next.Eventually("a has lost its place", func() bool { return next.App.Hub().Get(fd) == nil })
				a.WantClose(framework.CloseReplaced)
				stop()
				b.WantNothing()
			})
		}
	}
}
