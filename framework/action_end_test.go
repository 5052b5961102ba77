//go:build unix

package framework_test

import (
	"fmt"
	"testing"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// patient is a controller whose action waits for the end of its client.
type patient struct {
	began, ended, closed chan int64
}

func newPatient() *patient {
	return &patient{make(chan int64, 10), make(chan int64, 10), make(chan int64, 10)}
}

func (p *patient) Wait(c *framework.Ctx) (*framework.Reply, error) {
	if err := c.AddCloseListener("p"); err != nil {
		return nil, err
	}
	p.began <- c.FD
	<-c.Done()
	p.ended <- c.FD
	return nil, c.Err()
}

func (p *patient) OnClose(c *framework.Closed) { p.closed <- c.FD }

func (p *patient) mount(framework.Deps) ([]framework.Controller, error) {
	return []framework.Controller{framework.Mount("p", p)}, nil
}

func within(t *testing.T, what string, ch <-chan int64) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(4 * frameworktest.Timeout):
		t.Fatalf("waited in vain: %s", what)
	}
}

// An action hears of the end of its client while it runs, the close listener is told once, and neither holds up what follows.
func TestActionSeesItsEnd(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(h *frameworktest.Harness, c *frameworktest.Client, fd int64){
		"it vanishes": func(_ *frameworktest.Harness, c *frameworktest.Client, _ int64) { c.Vanish() },
		"it is kicked": func(h *frameworktest.Harness, _ *frameworktest.Client, fd int64) {
			if err := h.App.Kick(t.Context(), fd, 0, ""); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient()
			h := frameworktest.New(t, p.mount, frameworktest.Quiet())
			c := h.Dial(user("a"))
			c.Send(`{"method":"p.wait"}`)
			leave(h, c, <-p.began)
			within(t, "the action's end", p.ended)
			within(t, "the close listener", p.closed)
			h.Eventually("it has ended", func() bool { return h.App.Hub().Len() == 0 })
			if len(p.closed) > 0 {
				t.Error("the close listener was told twice")
			}
		})
	}
}

// The same across a reload: the action runs in the old worker, and the connection ends in the new one.
func TestActionSeesItsEndElsewhere(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"vanish", "goodbye", "kick"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := newPatient()
			h1, h2 := frameworktest.NewWorkers(t, true, p.mount, frameworktest.Quiet())
			nc := rawClient(t, h1, user("a"))
			_, _ = nc.Write(masked(0x81, `{"method":"p.wait"}`))
			fd := <-p.began
			rest := handOver(t, h1.App, h2.App)
			switch how {
			case "vanish":
				_ = nc.Close()
			case "goodbye":
				_, _ = nc.Write(masked(0x88, "\x03\xe8"))
			case "kick":
				if err := h2.App.Kick(t.Context(), fd, 0, ""); err != nil {
					t.Error(err)
				}
			}
			within(t, fmt.Sprintf("the action's end (%s)", how), p.ended)
			rest()
			within(t, "the close listener", p.closed)
		})
	}
}
