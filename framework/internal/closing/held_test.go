package closing

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/cluster"
)

// store is a Redis that answers when its gate is closed.
type store struct {
	gate    chan struct{}
	others  int64 // connections from this fd on are another node's
	unheard map[int64]bool
}

func (s *store) Owner(int64) (mine, known bool) { return false, false }

func (s *store) Owns(ctx context.Context, fd int64) (bool, error) {
	select {
	case <-s.gate:
		return fd < s.others, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (s *store) Unheard() map[int64]bool { return s.unheard }
func (s *store) Closed(cluster.Entry)    {}

// ends notes what became of connections.
type ends struct {
	mu   sync.Mutex
	list []string
}

func (e *ends) of(fd int64) func(bool) {
	return func(mine bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.list = append(e.list, fmt.Sprintf("%d %t", fd, mine))
	}
}

func (e *ends) want(t *testing.T, list ...string) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.Sort(e.list)
	if !slices.Equal(e.list, list) {
		t.Errorf("ended: %q, want %q", e.list, list)
	}
}

// Ends wait until Redis says whose the connections are.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got ends
		s := &store{gate: make(chan struct{}), others: 3}
		h := newHeldEnds(s, zap.NewNop())
		for fd := int64(1); fd < 5; fd++ {
			h.hold(fd, got.of(fd))
		}
		time.Sleep(time.Hour)
		got.want(t)
		close(s.gate)
		got.want(t, "1 true", "2 true", "3 false", "4 false")
		h.hold(1, got.of(0)) // after the list was empty
		got.want(t, "0 true", "1 true", "2 true", "3 false", "4 false")
		h.close(t.Context())
	})
}

// An end that blocks, being a listener's, holds up no more than its own slot.
func TestHeldSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{gate: make(chan struct{})}
		close(s.gate)
		h := newHeldEnds(s, zap.NewNop())
		var mu sync.Mutex
		begun, release := 0, make(chan struct{})
		for fd := range int64(heldAtOnce + 10) {
			h.hold(fd, func(bool) {
				mu.Lock()
				begun++
				mu.Unlock()
				<-release
			})
		}
		synctest.Wait()
		mu.Lock()
		if begun != heldAtOnce {
			t.Errorf("%d ends at once", begun)
		}
		mu.Unlock()
		close(release)
		h.close(t.Context())
		if begun != heldAtOnce+10 {
			t.Errorf("%d ends in all", begun)
		}
	})
}

// Beyond the bound an end does not wait.
func TestHeldBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got ends
		h := newHeldEnds(&store{gate: make(chan struct{})}, zap.NewNop())
		for range maxHeld {
			h.hold(1, func(bool) {})
		}
		got.want(t)
		h.hold(2, got.of(2))
		got.want(t, "2 true")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.close(ctx)
	})
}

// A node that stops while Redis is unreachable waits as long as it may. Then it deals with the
// ends that no other node can know of, and leaves the others.
func TestHeldAtStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got ends
		s := &store{gate: make(chan struct{}), unheard: map[int64]bool{2: true, 9: true}}
		h := newHeldEnds(s, zap.NewNop())
		for fd := int64(1); fd < 4; fd++ {
			h.hold(fd, got.of(fd))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		h.close(ctx)
		if waited := time.Since(begun); waited != time.Minute {
			t.Errorf("it has waited %v", waited)
		}
		got.want(t, "2 true")
	})
}

// A stopping node deals with all ends where Redis answers in time.
func TestHeldAnsweredAtStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got ends
		s := &store{gate: make(chan struct{}), others: 9}
		h := newHeldEnds(s, zap.NewNop())
		h.hold(1, got.of(1))
		h.hold(2, got.of(2))
		time.AfterFunc(time.Second, func() { close(s.gate) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		h.close(ctx)
		got.want(t, "1 true", "2 true")
	})
}
