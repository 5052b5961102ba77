package push

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A request waits while the gate is closed, and acts when it opens.
func TestGateOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		_, leave, e := g.enter(t.Context())
		if e != nil || !g.busy() {
			t.Fatal(e)
		}
		g.close()
		g.close()
		entered := make(chan *Error, 1)
		go func() {
			_, leave, e := g.enter(t.Context())
			if e == nil {
				defer leave()
			}
			entered <- e
		}()
		synctest.Wait()
		if len(entered) > 0 || g.isOpen() {
			t.Error("the request did not wait")
		}
		if !g.open() || g.open() || !g.isOpen() {
			t.Error("the gate is opened once")
		}
		if e := <-entered; e != nil {
			t.Error(e)
		}
		leave()
		synctest.Wait()
		if g.busy() {
			t.Error("nobody acts any more")
		}
	})
}

// A request does not wait longer than it may take, nor beyond the server's end.
func TestGateRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.close()
		begun := time.Now()
		if _, _, e := g.enter(t.Context()); e == nil || e.Code != CodeUnavailable || time.Since(begun) != callTime {
			t.Errorf("%v after %v", e, time.Since(begun))
		}
		ended := make(chan *Error, 1)
		go func() { _, _, e := g.enter(context.Background()); ended <- e }()
		synctest.Wait()
		g.end()
		if e := <-ended; e == nil || e.Code != CodeUnavailable {
			t.Error(e)
		}
		if g.open() || g.busy() || !g.hasEnded() {
			t.Error("the end is final")
		}
		if _, _, e := g.enter(t.Context()); e == nil {
			t.Error("a request entered after the end")
		}
	})
}
