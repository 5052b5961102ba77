package framework_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// hasty has actions that are declared to be quick, and are not.
type hasty struct{ open chan struct{} }

func (*hasty) Quick(*framework.Ctx) (*framework.Reply, error) { return framework.OK("quick", ""), nil }

func (h *hasty) Wait(*framework.Ctx) (*framework.Reply, error) {
	<-h.open
	return framework.OK("waited", ""), nil
}

func (h *hasty) Spin(*framework.Ctx) (*framework.Reply, error) {
	for {
		select {
		case <-h.open:
			return framework.OK("spun", ""), nil
		default:
		}
	}
}

func (*hasty) Panic(*framework.Ctx) (*framework.Reply, error) { panic("on purpose") }

func (*hasty) Exit(*framework.Ctx) (*framework.Reply, error) { runtime.Goexit(); return nil, nil }

// Ask waits for an answer of the other node.
func (*hasty) Ask(c *framework.Ctx) (*framework.Reply, error) {
	counts, err := c.Server().Counts(c)
	return framework.OK("asked", "", counts.Connections), err
}

func (*hasty) Kick(c *framework.Ctx) (*framework.Reply, error) {
	return nil, c.Server().Kick(c, c.FD, 4321, "by itself")
}

func (*hasty) Say(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("said", ""), c.Publish("hall", framework.OK("heard", ""))
}

func (*hasty) Join(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("joined", ""), c.Join("hall")
}

// Gone waits for the end of its connection.
func (*hasty) Gone(c *framework.Ctx) (*framework.Reply, error) { <-c.Done(); return nil, nil }

// Actions that are declared inline and wait, compute, fail or end their goroutine keep no other
// connection from being served, and their own goes on.
func TestInline(t *testing.T) {
	controller := &hasty{}
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Inline(framework.Mount("h", controller))}, nil
	}
	nodes := frameworktest.NewCluster(t, 2, mount, frameworktest.Quiet(), frameworktest.Config(func(c *config.App) { c.Limits.MessageRate = 0 }))
	h := nodes[0]
	others := []*frameworktest.Client{h.Dial(user("b")), h.Dial(user("c"))}
	serve := func() {
		t.Helper()
		for range 20 {
			for _, o := range others {
				o.Call("h.quick", nil).Want(200, "quick")
			}
		}
	}
	c := h.Dial(user("a"))
	for _, slow := range [][2]string{{"h.wait", "waited"}, {"h.spin", "spun"}, {"h.wait", "waited"}} {
		controller.open = make(chan struct{})
		c.Send(fmt.Sprintf(`{"method":%q,"id":1}`, slow[0]))
		c.Send(`{"method":"h.quick","id":2}`)
		serve()
		close(controller.open)
		for _, want := range []string{slow[1], "quick"} {
			if got := c.Receive(); !strings.Contains(got, want) {
				t.Fatalf("%s, want %s: a connection's frames keep their order", got, want)
			}
		}
	}
	for range 5 {
		c.Call("h.panic", nil).Want(500, "controllerError")
		serve()
		c.Call("h.exit", nil).Want(500, "controllerError")
		serve()
	}
	for range 3 {
		c.Call("h.ask", nil).Want(200, "asked").WantParam("3")
	}
	c.Call("h.join", nil).Want(200, "joined")
	for range 50 {
		c.Call("h.say", nil).Want(200, "said")
		c.WantPush("heard")
	}
	c.Call("h.say", nil).Want(200, "said")
	c.WantPush("heard")
	c.Send(`{"method":"h.kick"}`)
	c.WantClose(4321)
	gone := h.Dial(user("d"))
	gone.Send(`{"method":"h.gone"}`)
	serve()
	gone.Vanish()
	h.Eventually("its action ends", func() bool { _, inside := h.App.Hub().Remaining(); return inside == len(others) })
	serve()
	h.Eventually("a quick action is inline", func() bool { serve(); return inline(h, "index.h.quick") })
}

func inline(h *frameworktest.Harness, method string) bool {
	for _, s := range h.App.ActionStats() {
		if s.Method == method {
			return s.Inline
		}
	}
	return false
}
