package link_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap/zaptest"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/link"
	"wsframe/internal/testserver"
)

// worker is one end of a link, with what it has received.
type worker struct {
	*link.Link
	mu  sync.Mutex
	got []string
}

func (w *worker) received() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint(w.got)
}

func newWorker(t *testing.T, store *testserver.Piped, reload bool) *worker {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: store.Addr, Dialer: store.Dial, DisableIdentity: true})
	w := &worker{}
	w.Link = link.New(bus.Config{
		Client: client, Prefix: "x_", Timeout: time.Second, Log: zaptest.NewLogger(t), Lost: func(func(string) bool) {},
		Receive: func(m *bus.Message) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.got = append(w.got, string(m.Body))
		},
	}, reload)
	t.Cleanup(func() {
		_ = w.Leave(context.Background())
		_ = client.Close()
	})
	return w
}

func (w *worker) say(t *testing.T, text string) {
	t.Helper()
	if err := w.Send(&bus.Message{Kind: envelope.ToAll, Body: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, w *worker, phase link.Phase, got string) {
	t.Helper()
	time.Sleep(time.Second)
	if w.Phase() != phase || w.received() != got {
		t.Errorf("%v with %s, want %v with %s", w.Phase(), w.received(), phase, got)
	}
}

// A place moves from worker to worker. What the next one sends before it has the place waits, and
// no message comes twice.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := testserver.StartPiped(t)
		old := newWorker(t, store, false)
		want(t, old, link.Starting, "[]")
		if err := old.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		old.say(t, "1")
		want(t, old, link.Serving, "[1]")

		next := newWorker(t, store, true)
		next.say(t, "2")
		if next.Joined() || next.Phase().Owns() {
			t.Error("the next worker has a place already")
		}
		old.HandOver()
		state, err := old.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want(t, old, link.HandingOver, "[1]")
		takeOver, err := next.Adopt(t.Context(), state)
		if err != nil {
			t.Fatal(err)
		}
		want(t, next, link.TakingOver, "[]")
		takeOver(time.Second)
		old.HandedOver()
		old.Detach()
		old.say(t, "3")
		want(t, next, link.Serving, "[2 3]")
		want(t, old, link.HandedOver, "[1]")
		if !old.Phase().Ended() || next.Phase().Ended() {
			t.Error("the wrong one has ended")
		}
	})
}

// A hand-over that fails changes nothing, and messages that were sent meanwhile arrive.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, testserver.StartPiped(t), false)
		if err := w.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Suspend(t.Context()); err != nil || !w.HandOver() || w.HandOver() {
			t.Fatal("it cannot be handed over", err)
		}
		w.say(t, "1")
		w.KeepServing()
		w.Resume()
		want(t, w, link.Serving, "[1]")
		if err := w.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		want(t, w, link.Stopped, "[1]")
	})
}

// Messages that wait for a place are bounded, and After does not wait without a place.
func TestWaiting(t *testing.T) {
	w := newWorker(t, testserver.StartPiped(t), true)
	var err error
	for i := 0; err == nil && i < 20_000; i++ {
		err = w.Send(&bus.Message{Kind: envelope.ToRoom, Key: "r"})
	}
	if err != bus.ErrFull {
		t.Error(err)
	}
	if !w.Keeps("r") || w.Keeps("other") {
		t.Error("a push to the room waits")
	}
	called := false
	w.AfterOwn(time.Hour, func() { called = true })
	w.Settle(t.Context(), time.Hour)
	if _, err := w.History(t.Context(), "r", 0, 1); !called || err != link.ErrNoHistory {
		t.Error(called, err)
	}
}
