package bus

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"wsframe/library/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute // only a fault needs so long

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// embedded starts the embedded store; each client is one of its own.
func embedded(t testing.TB) func(hooks ...redis.Hook) redis.UniversalClient {
	t.Helper()
	e, err := cache.StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return func(hooks ...redis.Hook) redis.UniversalClient {
		return open(t, cache.Options{Addrs: []string{e.Addr()}, Password: e.Password()}, hooks...)
	}
}

func open(t testing.TB, o cache.Options, hooks ...redis.Hook) redis.UniversalClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := cache.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hooks {
		c.AddHook(h)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// node is a Bus and the messages that it has received.
type node struct {
	*Bus
	t  testing.TB
	mu sync.Mutex
	m  []Message
}

func join(t testing.TB, c redis.UniversalClient, change ...func(*Config)) *node {
	t.Helper()
	n := &node{t: t}
	cfg := Config{Client: c, Prefix: "p:", Receive: n.receive}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if n.Bus, err = Start(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	n.Run()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.Stop(ctx); err != nil && n.phase != suspended {
			t.Log(err)
		}
	})
	return n
}

func alone(c *Config) { c.Alone = true }

func from(state []byte) func(*Config) { return func(c *Config) { c.State = state } }

func (n *node) receive(m *Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.m = append(n.m, *m)
}

func (n *node) got() []Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Message(nil), n.m...)
}

func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.m)
}

func (n *node) send(key, body string) {
	n.t.Helper()
	if err := n.Send(&Message{Kind: 7, Key: key, Body: []byte(body)}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) keep(key, body string, keep int, age time.Duration) {
	n.t.Helper()
	if err := n.Send(&Message{Kind: 8, Key: key, Body: []byte(body), Keep: keep, Age: age}); err != nil {
		n.t.Fatal(err)
	}
}

// inOrder fails unless each sender's messages to each key, "NAME NUMBER", are there once, in order,
// from 0 to n.
func (n *node) inOrder(want int) {
	n.t.Helper()
	next := map[string]int{}
	for _, m := range n.got() {
		var name string
		var number int
		if _, err := fmt.Sscanf(string(m.Body), "%s %d", &name, &number); err != nil {
			n.t.Fatalf("%q: %v", m.Body, err)
		}
		name += " to " + m.Key
		if number != next[name] {
			n.t.Fatalf("%s: %d instead of %d", name, number, next[name])
		}
		next[name]++
	}
	for name, got := range next {
		if got != want {
			n.t.Errorf("%s: %d instead of %d", name, got, want)
		}
	}
}

// sameOrder fails unless all nodes got the messages of each key in one order.
func sameOrder(t testing.TB, nodes ...*node) {
	t.Helper()
	var first map[string][]string
	for i, n := range nodes {
		by := map[string][]string{}
		for _, m := range n.got() {
			by[m.Key] = append(by[m.Key], fmt.Sprintf("%s %s %d %s", m.Body, m.From, m.Offset, m.Epoch))
		}
		if i == 0 {
			first = by
			continue
		}
		for key := range first {
			for j := range first[key] {
				if j >= len(by[key]) || by[key][j] != first[key][j] {
					t.Fatalf("node %d has at %d of %s something else than node 0: %s", i, j, key, first[key][j])
				}
			}
		}
	}
}

// lossy sends commands to Redis but loses replies on demand, or delays commands.
type lossy struct {
	mu   sync.Mutex
	lose func(cmd redis.Cmder) bool
	gate sync.RWMutex
}

func (h *lossy) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *lossy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "hello" { // a new connection's, inside the command that has asked for it
			return next(ctx, cmd)
		}
		h.gate.RLock()
		err := next(context.WithoutCancel(ctx), cmd)
		h.gate.RUnlock()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.lose != nil && h.lose(cmd) {
			cmd.SetErr(context.DeadlineExceeded)
			return context.DeadlineExceeded
		}
		return err
	}
}

func (h *lossy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func quiet(c *Config) { c.Log = zap.NewNop() }
