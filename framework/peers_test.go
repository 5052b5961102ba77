package framework_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/internal/testserver"
	"wsframe/library/cache"
)

// behindProxy has one of the nodes reach the store through a proxy only, with a store timeout of half a second.
func behindProxy(t *testing.T, node string) (option frameworktest.Option, proxy func() *testserver.Proxy) {
	var p *testserver.Proxy
	return func(o *framework.Options) {
		if o.NodeID != node {
			return
		}
		direct := o.Deps.Redis.(*redis.Client).Options()
		p = testserver.StartProxy(t, direct.Addr)
		o.StoreTimeout = 500 * time.Millisecond
		c, err := cache.Open(t.Context(), cache.Options{Addrs: []string{p.Addr}, Password: direct.Password, Timeout: o.StoreTimeout})
		for tries := 1; err != nil && tries < 100; tries++ { // a busy machine may need longer than that
			c, err = cache.Open(t.Context(), cache.Options{Addrs: []string{p.Addr}, Password: direct.Password, Timeout: o.StoreTimeout})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		o.Deps.Redis = c
	}, func() *testserver.Proxy { return p }
}

// Calls that are made while Redis is frozen wait beside each other, not one after the other (promise R2).
func TestCallsWhileRedisIsFrozen(t *testing.T) {
	t.Parallel()
	option, proxy := behindProxy(t, "node-1")
	list := frameworktest.NewCluster(t, 2, mountHall, option)
	s := list[0].App
	list[0].Eventually("two nodes", func() bool { nodes, err := s.Nodes(t.Context()); return err == nil && len(nodes) == 2 })
	release := proxy().Hold()
	defer release()
	const calls, bound = 32, 6 * time.Second                      // one after the other they would take 16 s
	for begun := time.Now(); time.Since(begun) < 2*time.Second; { // what was known before holds for a second
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				begun := time.Now()
				if on, err := s.IsOnline(t.Context(), 1<<40); on || !errors.Is(err, framework.ErrPartial) {
					t.Errorf("online while Redis is frozen: %v, %v", on, err)
				}
				if took := time.Since(begun); took > bound {
					t.Errorf("a call took %v", took)
				}
			})
		}
		all.Wait()
	}
	nodes, err := s.Nodes(t.Context())
	if !errors.Is(err, framework.ErrPartial) || len(nodes) != 2 || !nodes[0].Self || !nodes[1].Missing {
		t.Errorf("nodes while Redis is frozen: %+v, %v", nodes, err)
	}
	release()
	list[0].Eventually("an answer", func() bool {
		on, err := s.IsOnline(t.Context(), 1<<40)
		return !on && err == nil
	})
}

// Where it takes Redis long to name the nodes, those are asked that the watch has found.
func TestCallsWhileRedisIsSlow(t *testing.T) {
	t.Parallel()
	list := frameworktest.NewCluster(t, 2, mountHall, shortLease)
	s, slow := list[0].App, &namesLate{}
	list[0].Redis.AddHook(slow)
	list[0].Eventually("two nodes", func() bool { n, err := s.Counts(t.Context()); return err == nil && n.Nodes == 2 })
	time.Sleep(1100 * time.Millisecond) // what a call has found holds for a second
	slow.late.Store(true)
	if n, err := s.Counts(t.Context()); err != nil || n.Nodes != 2 {
		t.Errorf("%+v, %v", n, err)
	}
}

// namesLate has the nodes not named in time.
type namesLate struct{ late atomic.Bool }

func (h *namesLate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *namesLate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *namesLate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "sscan" && h.late.Load() {
			<-ctx.Done()
			cmd.SetErr(ctx.Err())
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

// A Redis that was emptied has no nodes until each has shown that it lives; that is not to say that nobody is there.
func TestReachAfterFlush(t *testing.T) {
	t.Parallel()
	list := frameworktest.NewCluster(t, 2, mountHall)
	s := list[0].App
	c := list[1].Dial(user("u"))
	fdOf(c, "hall")
	hello := framework.OK("hello", "")
	list[0].Eventually("the user to be reached", func() bool { n, err := s.Reach(t.Context(), "u", hello); return n == 1 && err == nil })
	if err := list[0].Redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	list[0].Eventually("the other node to enter again", func() bool {
		n, err := s.Reach(t.Context(), "u", hello)
		if n != 1 && err == nil {
			t.Fatal("the user is said to be offline")
		}
		members, err := list[0].Redis.SMembers(t.Context(), "WSFRAME_NODES").Result()
		return err == nil && strings.Contains(strings.Join(members, " "), "@node-2")
	})
}

// A node that has just started is asked by those that looked for the others a moment before.
func TestNodeThatHasJustStarted(t *testing.T) {
	t.Parallel()
	first := frameworktest.NewCluster(t, 1, mountHall)[0]
	for i := range 5 {
		uid := fmt.Sprint("u", i)
		if online, err := first.App.IsUIDOnline(t.Context(), uid); online || err != nil {
			t.Fatal(online, err)
		}
		late := frameworktest.New(t, mountHall, func(o *framework.Options) {
			o.Deps.Redis, o.Alone, o.NodeID = first.Redis, false, uid
		})
		fdOf(late.Dial(user(uid)), "room")
		if online, err := first.App.IsUIDOnline(t.Context(), uid); !online && !errors.Is(err, framework.ErrPartial) {
			t.Errorf("online %v, %v", online, err)
		}
	}
}
