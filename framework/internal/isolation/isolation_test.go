package isolation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/auth"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/isolation"
	"wsframe/framework/internal/nodetest"
)

const spread = 10 * time.Second

// node is a node whose place among the others the test sets.
type node struct {
	isolated, accompanied atomic.Bool

	watch   *isolation.Watch
	clients []*nodetest.Conn
	logs    *observer.ObservedLogs
}

func (n *node) Isolated() bool    { return n.isolated.Load() }
func (n *node) Accompanied() bool { return n.accompanied.Load() }

func newNode(t *testing.T, policy string, clients int) *node {
	n := &node{}
	h := nodetest.NewHub(t, hub.Config{IdleTimeout: time.Hour})
	for i := range clients {
		n.clients = append(n.clients, h.Connect(int64(i+1), auth.Identity{}, nil))
	}
	var core zapcore.Core
	core, n.logs = observer.New(zapcore.InfoLevel)
	n.watch = isolation.New(isolation.Config{Policy: policy, Spread: spread, Hub: h.Hub, Cluster: n, Log: zap.New(core)})
	life, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.watch.Run(life)
	}()
	t.Cleanup(func() { end(); <-done })
	return n
}

// closed counts the clients that were sent away.
func (n *node) closed(t *testing.T) (count int) {
	t.Helper()
	synctest.Wait()
	for _, c := range n.clients {
		switch got := c.Received(); {
		case slices.Equal(got, []string{"close 1012 server is cut off"}):
			count++
		case len(got) > 0:
			t.Errorf("a client got %q", got)
		}
	}
	return count
}

// wantClosed checks that from to to clients were sent away by the time from now.
func (n *node) wantClosed(t *testing.T, after time.Duration, from, to int) {
	t.Helper()
	time.Sleep(after)
	if got := n.closed(t); got < from || got > to {
		t.Errorf("%d clients are closed, want %d to %d", got, from, to)
	}
}

// Clients leave a node that is cut off bit by bit, spread over the time that it is given.
func TestClientsAreClosedBitByBit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, "close", 100)
		n.accompanied.Store(true)
		n.wantClosed(t, spread, 0, 0)
		if n.watch.Evicts() {
			t.Error("the node sends clients away while it reaches Redis")
		}
		n.isolated.Store(true)
		if !n.watch.Evicts() {
			t.Error("the node does not say that it sends clients away")
		}
		n.wantClosed(t, spread/100, 0, 2)
		n.wantClosed(t, spread/4, 24, 30)
		n.wantClosed(t, spread/4, 49, 55)
		n.wantClosed(t, spread/2+spread/60, 100, 100)
	})
}

// A node that reaches Redis again keeps the remaining clients, and a later isolation begins with
// the first share of these.
func TestIsolationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, "close", 100)
		n.accompanied.Store(true)
		n.isolated.Store(true)
		n.wantClosed(t, spread/2, 48, 52)
		n.isolated.Store(false)
		n.wantClosed(t, spread/60, 48, 52)
		before := n.closed(t)
		n.wantClosed(t, 10*spread, before, before)
		n.isolated.Store(true)
		n.wantClosed(t, spread/2, before+(100-before)/2-2, before+(100-before)/2+2)
		n.wantClosed(t, spread, 100, 100)
		var texts []string
		for _, e := range n.logs.All() {
			texts = append(texts, fmt.Sprint(e.Level, " ", strings.Fields(e.Message)[:2], e.ContextMap()["clients_closed"]))
		}
		want := []string{"error [this node] true", "info [this node] <nil>", "error [this node] true"}
		if !slices.Equal(texts, want) {
			t.Errorf("logged %q, want %q", texts, want)
		}
	})
}

// Clients stay where no other node could take them, or where the configuration says so.
func TestClientsStay(t *testing.T) {
	for _, tc := range []struct {
		name        string
		policy      string
		accompanied bool
	}{
		{"no other node", "close", false},
		{"by configuration", "serve", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, tc.policy, 10)
				n.accompanied.Store(tc.accompanied)
				n.isolated.Store(true)
				if n.watch.Evicts() {
					t.Error("the node sends clients away")
				}
				n.wantClosed(t, 3*spread, 0, 0)
			})
		})
	}
}

// A client that is to be closed for another reason gets that one's code alone.
func TestClientThatIsClosedAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, "close", 4)
		n.accompanied.Store(true)
		n.clients[1].SetClosingSoon()
		n.isolated.Store(true)
		n.wantClosed(t, 2*spread, 3, 3)
		if got := n.clients[1].Received(); len(got) > 0 {
			t.Errorf("the client got %q", got)
		}
	})
}
