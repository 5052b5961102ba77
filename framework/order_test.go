package framework_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// onPlaces runs a test where the sender is alone, where it has the connections among two nodes, and where the other has them.
func onPlaces(t *testing.T, f func(t *testing.T, sender, holder *frameworktest.Harness), options ...frameworktest.Option) {
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		h := frameworktest.New(t, mountHall, options...)
		f(t, h, h)
	})
	for i, name := range []string{"same node", "other node"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := frameworktest.NewCluster(t, 2, mountHall, options...)
			list[0].Eventually("two nodes", func() bool { nodes, err := list[0].App.Nodes(t.Context()); return err == nil && len(nodes) == 2 })
			f(t, list[0], list[i])
		})
	}
}

func numbered(n int) *framework.Reply { return framework.OK("n", "", n) }

func wantNumbers(t *testing.T, c *frameworktest.Client, n int) {
	t.Helper()
	for i := range n {
		c.WantPush("n").WantParam(fmt.Sprint(i))
	}
}

// However something was sent, who is thrown out afterwards has got it.
func TestThrownOutBehindSends(t *testing.T) {
	t.Parallel()
	keep := framework.Keep(10, time.Minute)
	type target struct {
		fd        int64
		uid, room string
	}
	type say func(s *framework.App, to target, n int) error
	says := map[string]say{
		"fd": func(s *framework.App, to target, n int) error { return s.SendToFD(to.fd, numbered(n)) },
		"fd, a class": func(s *framework.App, to target, n int) error {
			return s.SendToFD(to.fd, numbered(n), framework.DropOldest)
		},
		"uid":        func(s *framework.App, to target, n int) error { return s.SendToUID(to.uid, numbered(n)) },
		"all":        func(s *framework.App, to target, n int) error { return s.SendToAll(numbered(n)) },
		"room":       func(s *framework.App, to target, n int) error { return s.SendToRoom(to.room, numbered(n)) },
		"room, kept": func(s *framework.App, to target, n int) error { return s.SendToRoom(to.room, numbered(n), keep) },
		"room, Except": func(s *framework.App, to target, n int) error {
			return s.SendToRoom(to.room, numbered(n), framework.Except(1<<50))
		},
	}
	ends := map[string]func(ctx context.Context, s *framework.App, to target) error{
		"Kick": func(ctx context.Context, s *framework.App, to target) error { return s.Kick(ctx, to.fd, 0, "") },
		"KickUID": func(ctx context.Context, s *framework.App, to target) error {
			n, err := s.KickUID(ctx, to.uid, 0, "")
			if err == nil && n != 1 {
				err = fmt.Errorf("%d were kicked", n)
			}
			return err
		},
		"DismissRoom": func(ctx context.Context, s *framework.App, to target) error {
			n, err := s.DismissRoom(ctx, to.room)
			if err == nil && n != 2 {
				err = fmt.Errorf("%d were dismissed", n)
			}
			return err
		},
	}
	onPlaces(t, func(t *testing.T, sender, holder *frameworktest.Harness) {
		for end, throw := range ends {
			for name, say := range says {
				for _, count := range []int{1, 60} { // so many make a room busy: it writes in ticks
					if count > 1 && !strings.HasPrefix(name, "room") {
						continue
					}
					for i := range 3 {
						to := target{uid: fmt.Sprint("u", i), room: fmt.Sprintf("R%d-%d", count, i)}
						c, other := holder.Dial(user(to.uid)), holder.Dial(user("other"))
						to.fd = fdOf(c, to.room)
						fdOf(other, to.room)
						for n := range count {
							if err := say(sender.App, to, n); err != nil {
								t.Fatal(err)
							}
						}
						if err := throw(t.Context(), sender.App, to); err != nil {
							t.Fatalf("%s behind %d to %s: %v", end, count, name, err)
						}
						if online, err := sender.App.IsOnline(t.Context(), to.fd); err != nil || online != (end == "DismissRoom") {
							t.Fatalf("%s: online %v, %v", end, online, err)
						}
						wantNumbers(t, c, count)
						if end != "DismissRoom" {
							c.WantClose(framework.CloseKicked)
						} else if left, err := sender.App.RoomCount(t.Context(), to.room); left != 0 || err != nil {
							t.Fatal(left, err)
						}
						c.Vanish()
						other.Vanish()
						holder.Eventually("both to be gone", func() bool { return holder.App.Hub().Len() == 0 })
					}
				}
			}
		}
	}, frameworktest.Quiet())
}

// Pushes to one connection, or one user, keep their order whatever they are.
func TestSendsKeepTheirOrder(t *testing.T) {
	onPlaces(t, func(t *testing.T, sender, holder *frameworktest.Harness) {
		const count = 60
		c, s := holder.Dial(user("u")), sender.App
		fd := fdOf(c, "room")
		options := [][]framework.PublishOption{nil, {framework.DropOldest}, nil, {framework.Latest("none")}, {framework.Except(fd + 1)}}
		for n := range count {
			if err := s.SendToFD(fd, numbered(n), options[n%len(options)]...); err != nil {
				t.Fatal(err)
			}
		}
		wantNumbers(t, c, count)
		for n := 0; n < count; n += 2 {
			if err := s.SendToUID("u", numbered(n), options[n%len(options)]...); err != nil {
				t.Fatal(err)
			}
			if reached, err := s.Reach(t.Context(), "u", numbered(n+1)); reached != 1 || err != nil {
				t.Fatal(reached, err)
			}
		}
		wantNumbers(t, c, count)
	})
}

// frozen is a Redis that does not answer while there is a gate.
type frozen struct{ gate atomic.Pointer[chan struct{}] }

func (f *frozen) freeze() (thaw func()) {
	gate := make(chan struct{})
	f.gate.Store(&gate)
	return sync.OnceFunc(func() {
		f.gate.Store(nil)
		close(gate)
	})
}

func (f *frozen) wait(ctx context.Context) error {
	gate := f.gate.Load()
	if gate == nil {
		return nil
	}
	select {
	case <-*gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *frozen) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (f *frozen) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := f.wait(ctx); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (f *frozen) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := f.wait(ctx); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// A Redis that does not answer holds up no kick for long, and nobody who kicks.
func TestKickWhileRedisIsFrozen(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 2} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			t.Parallel()
			f := &frozen{}
			hook := func(o *framework.Options) {
				o.Deps.Redis.AddHook(f)
				o.StoreTimeout = time.Second
			}
			var h *frameworktest.Harness
			if nodes == 1 {
				h = frameworktest.New(t, mountHall, frameworktest.Quiet(), hook)
			} else {
				h = frameworktest.NewCluster(t, nodes, mountHall, frameworktest.Quiet(), hook)[0]
			}
			a, b, c := h.Dial(user("a")), h.Dial(user("b")), h.Dial(user("c"))
			fa := fdOf(a, "room")
			fdOf(c, "room")
			b.WantNothing()
			thaw := f.freeze()
			defer thaw()
			if err := h.App.Publish("room", numbered(0), framework.Keep(5, time.Minute)); err != nil {
				t.Fatal(err)
			}
			if err := h.App.Kick(t.Context(), fa, 0, ""); err != nil {
				t.Fatal(err)
			}
			if n, err := h.App.KickUID(t.Context(), "b", 0, ""); n != 1 || nodes == 1 && err != nil {
				t.Fatal(n, err)
			}
			// These wait, and tell: what they count may be known, but nobody asks the others.
			if n, err := h.App.DismissRoom(t.Context(), "room"); n < 1 || nodes == 1 && err != nil {
				t.Fatal(n, err)
			}
			a.WantClose(framework.CloseKicked)
			b.WantClose(framework.CloseKicked)
			thaw()
			c.WantNothing()
		})
	}
}

// thrower is a controller whose action sends something to a user, and throws him out, when it is told to.
type thrower struct{ begun, gate chan struct{} }

func (th *thrower) Throw(c *framework.Ctx, in *struct {
	FD  int64  `json:"to"`
	UID string `json:"uid"`
}) (*framework.Reply, error) {
	th.begun <- struct{}{}
	<-th.gate
	if err := c.Server().SendToUID(in.UID, numbered(0)); err != nil {
		return nil, err
	}
	return framework.OK("thrown", ""), c.Server().Kick(c, in.FD, 0, "")
}

// An action that outlives the move of its connection throws out behind its sends, too.
func TestThrownOutDuringReload(t *testing.T) {
	begun, gate := make(chan struct{}), make(chan struct{})
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("t", &thrower{begun, gate}), framework.Mount("hall", &hall{})}, nil
	}
	list := frameworktest.NewCluster(t, 2, mount, frameworktest.Quiet())
	by := list[0].Dial(user("by"))
	for round := range 6 {
		from, to := list[round%2], list[(round+1)%2]
		c := from.Dial(user("u"))
		fd := fdOf(c, "room")
		b, err := json.Marshal(map[string]any{"method": "t.throw", "to": fd, "uid": "u"})
		if err != nil {
			t.Fatal(err)
		}
		by.Send(string(b))
		<-begun
		done := make(chan struct{})
		go func() {
			defer close(done)
			move(t, from.App, to.App)
		}()
		to.Eventually("the connections to come over", func() bool { return to.App.Hub().Len() == 2 })
		gate <- struct{}{}
		wantNumbers(t, c, 1)
		c.WantClose(framework.CloseKicked)
		by.NextPush("thrown")
		<-done
		from.App.Resume()
	}
}
