package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap/zaptest"
)

// starting tries to start a node.
func starting(t *testing.T, c redis.UniversalClient, id, place string) (*Node, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg := Config{
		Client: c, Prefix: "p:", NodeID: id, Place: place, Lease: time.Minute, Refresh: 400 * time.Millisecond, Timeout: 10 * time.Second,
		Assert: time.Hour, About: func() []byte { return []byte(place) }, Log: zaptest.NewLogger(t),
	}
	n, err := Start(ctx, cfg)
	if err == nil {
		n.Run()
		t.Cleanup(func() { (&conns{n: n}).kill() })
	}
	return n, err
}

// The second of two servers with one id is refused, and the first one goes on.
func TestSameName(t *testing.T) { bubble(t, testSameName) }

func testSameName(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a := worker(t, s.client(t), "a", func(c *Config) {
		c.Lease, c.Refresh, c.Timeout, c.About = time.Minute, 400*time.Millisecond, 10*time.Second, func() []byte { return []byte("the first") }
	})
	a.openMany(20, "R")
	for _, place := range []string{"there", ""} {
		_, err := starting(t, s.client(t), "a", place)
		var taken *TakenError
		if !errors.Is(err, ErrTaken) || !errors.As(err, &taken) || string(taken.About) != "the first" || taken.Node != "a" {
			t.Fatalf("in place %q: %v", place, err)
		}
	}
	same(t, c, a)
	if a.deposals() > 0 || len(a.orphans) > 0 {
		t.Error("the first one was disturbed")
	}
}

// Of several servers with one id that start at the same time exactly one succeeds.
func TestSameNameAtOnce(t *testing.T) { bubble(t, testSameNameAtOnce) }

func testSameNameAtOnce(t *testing.T) {
	s := newStore(t)
	var up, taken atomic.Int32
	done := make(chan struct{})
	const count = 5
	for i := range count {
		c := s.client(t)
		go func() {
			defer func() { done <- struct{}{} }()
			switch _, err := starting(t, c, "a", fmt.Sprint(i)); {
			case err == nil:
				up.Add(1)
			case errors.Is(err, ErrTaken):
				taken.Add(1)
			default:
				t.Error(err)
			}
		}()
	}
	for range count {
		<-done
	}
	if up.Load() != 1 || taken.Load() != count-1 {
		t.Errorf("%d are up, %d were refused", up.Load(), taken.Load())
	}
}

// A node whose id another server has acquired while it was frozen continues when that one has
// ended.
func TestNameTakenFromFrozen(t *testing.T) { bubble(t, testNameTakenFromFrozen) }

func testNameTakenFromFrozen(t *testing.T) {
	s := newStore(t)
	g := &gate{}
	a := worker(t, s.client(t, g), "a", leases)
	a.openMany(5, "R")
	a.flush()
	g.close()
	b := worker(t, s.client(t), "a", leases, func(c *Config) { c.Place = "there" })
	once := func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.orphans) == 5 }
	eventually(t, "the frozen one to be cleaned up after", once)
	g.open()
	eventually(t, "it to notice", func() bool { return a.n.Lease.lost.Load() })
	if mine, known := a.n.Owners.Owner(a.fds()[0]); mine || known {
		t.Errorf("it owns what it has lost: %v, %v", mine, known)
	}
	b.stop()
	eventually(t, "it to go on", func() bool { return !a.n.Lease.lost.Load() && a.deposals() == 1 })
}
