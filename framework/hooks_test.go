//go:build unix

package framework_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// lifetime has the hooks for the whole application, and no action.
type lifetime struct {
	mu    sync.Mutex
	calls []string
	ended chan struct{}
	fails error
}

func (l *lifetime) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, what)
}

func (l *lifetime) noted() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

func (l *lifetime) OnWorkerStart(ctx context.Context, app *framework.App) error {
	l.note("start")
	go func() {
		<-ctx.Done()
		close(l.ended)
	}()
	if err := app.SendToAll(framework.OK("up", "")); err != nil {
		return err
	}
	return l.fails
}

func (l *lifetime) OnConnect(c *framework.Ctx) error {
	switch c.Auth.ID {
	case "barred":
		return framework.NewFail(403, "barred", "不允许进入")
	case "broken":
		return errors.New("secret")
	case "panics":
		panic("secret")
	}
	l.note("connect " + c.Auth.ID)
	return errors.Join(c.Join("LOBBY"), c.Push(framework.OK("welcome", "")))
}

func (l *lifetime) OnWorkerStop(context.Context) error { l.note("stop"); return nil }

func alive(t testing.TB) (*lifetime, *frameworktest.Harness) {
	l := &lifetime{ended: make(chan struct{})}
	return l, frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("life", l), framework.Mount("plain", &plain{})}, nil
	}, frameworktest.Quiet())
}

func TestWorkerHooks(t *testing.T) {
	t.Parallel()
	l, h := alive(t)
	c := h.Dial(framework.Identity{ID: "7", Type: framework.TypeWall})
	c.Send(`{"method":"life.onConnect","id":1}`) // read behind the hook, and no action
	c.WantPush("welcome")
	if got := c.Receive(); !strings.Contains(got, "methodNotFound") {
		t.Fatalf("got %s", got)
	}
	if n := h.App.Hub().Members("LOBBY"); n != 1 {
		t.Fatalf("%d in the lobby", n)
	}
	barred := h.Dial(framework.Identity{ID: "barred", Type: framework.TypeWall})
	if got := barred.Receive(); !strings.Contains(got, `"status":403,"event":"barred"`) {
		t.Fatalf("got %s", got)
	}
	barred.WantClose(framework.CloseKicked)
	for _, id := range []string{"broken", "panics"} {
		h.Dial(framework.Identity{ID: id, Type: framework.TypeWall}).WantClose(1011)
	}
	if err := h.App.Shutdown(t.Context(), 1001, "", 0); err != nil {
		t.Fatal(err)
	}
	<-l.ended
	if got := l.noted(); !slices.Equal(got, []string{"start", "connect 7", "stop"}) {
		t.Fatalf("called: %v", got)
	}
}

// A move ends the old worker's part, and is no new connection.
func TestWorkerHooksAtMove(t *testing.T) {
	l1, h1 := alive(t)
	l2, h2 := alive(t)
	c := h1.Dial(framework.Identity{ID: "7", Type: framework.TypeWall})
	c.WantPush("welcome")
	move(t, h1.App, h2.App)
	<-l1.ended
	c.Call("plain.index", nil)
	c.WantNothing()
	if got := l2.noted(); !slices.Equal(got, []string{"start"}) {
		t.Fatalf("called in the new worker: %v", got)
	}
}

// A worker whose application does not start does not serve.
func TestWorkerStartFails(t *testing.T) {
	l := &lifetime{ended: make(chan struct{}), fails: errors.New("no timer")}
	_, h := alive(t)
	o := framework.Options{Deps: framework.Deps{Redis: h.Redis}, NodeID: "other", Alone: true, Controllers: []framework.Controller{framework.Mount("life", l)}}
	o.Config.Limits.OutboxBytes = 1024
	if _, err := framework.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "OnWorkerStart of index.life: no timer") {
		t.Fatalf("got %v", err)
	}
	<-l.ended
}

// The worker that takes over starts nothing while the other one's timers run, and does so once.
func TestWorkerStartAtReload(t *testing.T) {
	t.Parallel()
	var workers []*lifetime
	h1, h2 := frameworktest.NewWorkers(t, true, func(framework.Deps) ([]framework.Controller, error) {
		workers = append(workers, &lifetime{ended: make(chan struct{})})
		return []framework.Controller{framework.Mount("life", workers[len(workers)-1])}, nil
	}, frameworktest.Quiet())
	one, two := workers[0], workers[1]
	if a, b := one.noted(), two.noted(); len(a) != 1 || len(b) != 0 {
		t.Fatalf("before the move: %v and %v", a, b)
	}
	if err := h2.App.Start(); err != nil {
		t.Fatal(err)
	}
	move(t, h1.App, h2.App)
	<-one.ended
	if err := h2.App.Start(); err != nil {
		t.Fatal(err)
	}
	if got := two.noted(); !slices.Equal(got, []string{"start"}) {
		t.Fatalf("called: %v", got)
	}
}
