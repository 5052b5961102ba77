package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A stop waits for what runs, and nothing starts after it.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		li := newLife()
		ended := false
		if !li.Go(func() { <-li.ctx.Done(); time.Sleep(time.Second); ended = true }) {
			t.Error("it has not begun")
		}
		li.stop()
		if !ended {
			t.Error("it has not waited")
		}
		if li.Go(func() { t.Error("it runs after the stop") }) {
			t.Error("begun after the stop")
		}
	})
}

// The second of two goroutines waits for the turn of the first, at most as long as its context.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurn()
		if err := turns.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := turns.acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("taken: %v", err)
		}
		time.AfterFunc(time.Second, turns.release)
		if err := turns.acquire(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
