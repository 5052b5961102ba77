package process

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// booting is a worker without a process, whose end is its kill.
func booting() *child {
	c := newChild(&tail{Lines: lines(nil)}, func(Stats) {})
	c.kill = func() { close(c.exited) }
	_, _ = c.tail.Write([]byte("waiting for godot\n"))
	return c
}

// A worker that is not ready in time is killed, and its last words are in the error.
func TestBootLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, begun := booting(), time.Now()
		err := c.boot(t.Context(), 30*time.Second)
		if err == nil || !strings.Contains(err.Error(), "not ready after 30s:\nwaiting for godot") || !c.ended() || time.Since(begun) != 30*time.Second {
			t.Fatalf("%v after %v", err, time.Since(begun))
		}

		c = booting()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.boot(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || !c.ended() {
			t.Errorf("nobody waits any more: %v", err)
		}

		c = booting()
		time.AfterFunc(time.Second, func() { c.ready <- bootResult{ready: Ready{Version: "1"}} })
		if err := c.boot(t.Context(), time.Minute); err != nil || c.ended() || c.info.Version != "1" {
			t.Errorf("ready: %v %+v", err, c.info)
		}
	})
}

// A worker that does not end in its time is killed.
func TestEndWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, begun := booting(), time.Now()
		if c.endWithin(5 * time.Second); time.Since(begun) != 5*time.Second || !c.ended() {
			t.Errorf("killed after %v", time.Since(begun))
		}
		if c.endWithin(5 * time.Second); time.Since(begun) != 5*time.Second {
			t.Error("it had ended")
		}
	})
}
