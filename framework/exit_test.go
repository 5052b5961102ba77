package framework_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// quitter is a controller whose parts end their goroutines.
type quitter struct{ closed chan int64 }

// sizes is a controller whose reply has any size.
type sizes struct{}

func (*sizes) Large(_ *framework.Ctx, in *struct {
	N framework.Int `json:"n"`
}) (*framework.Reply, error) {
	return framework.OK("large", "", strings.Repeat("x", int(in.N))), nil
}

func (q *quitter) Action(*framework.Ctx) (*framework.Reply, error) {
	runtime.Goexit()
	return nil, nil
}

func (q *quitter) Listen(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("listening", ""), errors.Join(c.AddCloseListener("q"), c.Join("room"))
}

func (q *quitter) OnConnect(*framework.Ctx) error { runtime.Goexit(); return nil }

func (q *quitter) OnMessage(*framework.Ctx) (*framework.Reply, error) {
	runtime.Goexit()
	return nil, nil
}

func (q *quitter) OnClose(c *framework.Closed) {
	q.closed <- c.FD
	runtime.Goexit()
}

// calm has what follows the quitter's hooks.
type calm struct{ closed chan int64 }

func (c *calm) Listen(ctx *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("listening", ""), ctx.AddCloseListener("calm")
}

func (c *calm) OnClose(e *framework.Closed) { c.closed <- e.FD }

// runtime.Goexit in an action or hook costs its call, and neither the connection nor what follows. OnConnect's refuses.
func TestGoexit(t *testing.T) {
	q, after := &quitter{make(chan int64, 9)}, &calm{make(chan int64, 9)}
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("q", &noConnect{q}), framework.Mount("calm", after)}, nil
	}
	h := frameworktest.New(t, mount, frameworktest.Quiet())
	c := h.Dial(user("a"))
	for range 3 {
		c.Call("q.action", nil).Want(500, "controllerError")
		c.Call("q.nothing", nil).Want(500, "controllerError")
	}
	c.Call("q.listen", nil).Want(200, "listening")
	c.Call("calm.listen", nil).Want(200, "listening")
	c.Vanish()
	within(t, "the listener", q.closed)
	within(t, "the listener behind it", after.closed)
	h.Eventually("all of it ends", func() bool { _, inside := h.App.Hub().Remaining(); return inside == 0 })
	h.Flush()
	if left := h.Redis.SMembers(context.Background(), "room").Val(); len(left) != 0 {
		t.Errorf("the room's set has %v", left)
	}
}

// noConnect is a quitter without OnConnect.
type noConnect struct{ q *quitter }

func (n *noConnect) Action(c *framework.Ctx) (*framework.Reply, error)    { return n.q.Action(c) }
func (n *noConnect) Listen(c *framework.Ctx) (*framework.Reply, error)    { return n.q.Listen(c) }
func (n *noConnect) OnMessage(c *framework.Ctx) (*framework.Reply, error) { return n.q.OnMessage(c) }
func (n *noConnect) OnClose(c *framework.Closed)                          { n.q.OnClose(c) }

func TestGoexitOnConnect(t *testing.T) {
	q := &quitter{make(chan int64, 9)}
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("q", q)}, nil
	}
	h := frameworktest.New(t, mount, frameworktest.Quiet())
	h.Dial(user("a")).WantClose(1011)
}

// What is larger than any outbox is its sender's fault: it is told, by the size as sent, and no client is closed.
func TestLargerThanAnOutbox(t *testing.T) {
	const limit = 128 << 10
	core, logs := observer.New(zap.ErrorLevel)
	small := frameworktest.Config(func(c *config.App) { c.Limits.OutboxBytes, c.Limits.MessageRate = limit, 0 })
	log := func(o *framework.Options) { o.Deps.Log = zap.New(core) }
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("q", &sizes{}), framework.Mount("hall", &hall{})}, nil
	}
	h := frameworktest.New(t, mount, small, log)
	c := h.Dial(user("a"))
	c.Call("q.large", map[string]any{"n": limit}).Want(500, "controllerError")
	found := false
	for _, e := range logs.All() {
		found = found || e.ContextMap()["method"] == "index.q.large"
	}
	if !found {
		t.Errorf("no line names the method: %v", logs.All())
	}
	fd := fdOf(c, "hall")
	const frame = 10 + len(`{"status":200,"event":"large","info":"","param":""}`)
	of := func(n int) *framework.Reply { return framework.OK("large", "", strings.Repeat("x", n)) }
	sends := map[string]func(r *framework.Reply) error{
		"a room": func(r *framework.Reply) error { return h.App.Publish("hall", r) },
		"kept":   func(r *framework.Reply) error { return h.App.Publish("hall", r, framework.Keep(5, 1e12)) },
		"an fd":  func(r *framework.Reply) error { return h.App.SendToFD(fd, r) },
		"a uid":  func(r *framework.Reply) error { return h.App.SendToUID("a", r) },
		"all":    func(r *framework.Reply) error { return h.App.SendToAll(r) },
	}
	for name, send := range sends {
		for over := -200; over <= 200; over += 8 {
			err := send(of(limit - frame + over))
			switch {
			case err != nil && !errors.Is(err, framework.ErrTooLarge):
				t.Fatalf("%s: %v", name, err)
			case err == nil && over > 0, err != nil && over <= -180:
				t.Fatalf("%s: %d bytes over the limit: %v", name, over, err)
			case err == nil:
				c.WantPush("large")
			}
		}
	}
	c.WantNothing()
}
