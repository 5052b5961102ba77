// Package frameworktest runs an application's controllers on a real server for tests: real sockets
// and frames, an embedded Redis and an SQLite file. All of it ends with the test.
//
//	h := frameworktest.New(t, app.Controllers)
//	user := h.Dial(framework.Identity{ID: "7", Type: framework.TypeWechatUser, Code: "1"})
//	user.Call("live.user.join", nil).Want(200, "userJoinSuccess")
//
// Tests with a Harness each may run in parallel. The package's Example is the body of a test.
package frameworktest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"gorm.io/gorm"

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/library/cache"
	"wsframe/library/config"
	"wsframe/library/db"
	"wsframe/library/socket"
)

// Timeout bounds every wait of a Client and a Harness.
const Timeout = 30 * time.Second

const key = "frameworktest-key-0123456789abcdef"

// Harness is a running server.
type Harness struct {
	App    *framework.App
	Tokens *auth.Tokens
	Redis  redis.UniversalClient
	DB     *gorm.DB
	URL    string // ws://127.0.0.1:port/

	t testing.TB
}

// Option changes the server before it starts.
type Option func(*framework.Options)

// Config changes the configuration, which has its defaults.
func Config(f func(*config.App)) Option {
	return func(o *framework.Options) { f(&o.Config) }
}

// New starts a server with the controllers that mount returns.
func New(t testing.TB, mount func(framework.Deps) ([]framework.Controller, error), options ...Option) *Harness {
	t.Helper()
	return start(t, newStore(t), "test", true, mount, options)
}

// NewCluster starts servers that share one store, as the nodes of a cluster do.
func NewCluster(t testing.TB, nodes int, mount func(framework.Deps) ([]framework.Controller, error), options ...Option) []*Harness {
	t.Helper()
	store := newStore(t)
	list := make([]*Harness, nodes)
	for i := range list {
		list[i] = start(t, store, fmt.Sprintf("node-%d", i+1), false, mount, options)
	}
	return list
}

// NewWorkers starts two workers of one server, as a reload does: next waits for the connections of
// old (App.Transfer, App.Adopt). With alone, no other node shares the store.
func NewWorkers(t testing.TB, alone bool, mount func(framework.Deps) ([]framework.Controller, error), options ...Option) (old, next *Harness) {
	t.Helper()
	store := newStore(t)
	reload := func(o *framework.Options) { o.Reload = true }
	old = start(t, store, "test", alone, mount, options)
	return old, start(t, store, "test", alone, mount, append([]Option{reload}, options...))
}

func newStore(t testing.TB) *cache.Embedded {
	store, err := cache.StartEmbedded()
	check(t, err)
	t.Cleanup(store.Close)
	return store
}

func start(t testing.TB, store *cache.Embedded, id string, alone bool, mount func(framework.Deps) ([]framework.Controller, error), options []Option) *Harness {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	cfg, err := config.Load("", []string{"WSFRAME_APP_RUNTIME_DIR=" + t.TempDir()})
	check(t, err)
	h := &Harness{t: t}
	h.Redis, err = cache.Open(ctx, cache.Options{Addrs: []string{store.Addr()}, Password: store.Password(), Timeout: Timeout})
	check(t, err)
	t.Cleanup(func() { _ = h.Redis.Close() })
	h.DB, err = db.Open(ctx, db.Options{Driver: "sqlite", DSN: filepath.Join(t.TempDir(), "test.db")})
	check(t, err)
	t.Cleanup(func() { _ = db.Close(h.DB) })
	h.Tokens, err = auth.New(auth.Config{Keys: []string{key}, Lifetime: time.Hour})
	check(t, err)

	deps := framework.Deps{DB: h.DB, Redis: h.Redis, Log: zaptest.NewLogger(t), Metrics: prometheus.NewRegistry()}
	o := framework.Options{Config: cfg.App, Deps: deps, Tokens: h.Tokens, NodeID: id, Alone: alone, StoreTimeout: Timeout}
	for _, f := range options {
		f(&o)
	}
	h.Tokens = o.Tokens
	o.Controllers, err = mount(o.Deps)
	check(t, err)
	h.App, err = framework.New(ctx, o)
	// A short StoreTimeout is meant for the test itself. The start may take longer on a busy
	// machine.
	for tries := 1; errors.Is(err, context.DeadlineExceeded) && o.StoreTimeout < Timeout && tries < 30; tries++ {
		h.App, err = framework.New(ctx, o)
	}
	check(t, err)
	ln, err := socket.Listen(ctx, "127.0.0.1:0") // the master does the same
	check(t, err)
	h.URL = "ws://" + ln.Addr().String() + "/"
	served := make(chan error, 1)
	go func() { served <- h.App.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Timeout)
		defer cancel()
		if err := h.App.Shutdown(ctx, framework.CloseGoingAway, "test over", 0); err != nil {
			t.Errorf("shut the test server down: %v", err)
		}
		check(t, <-served)
	})
	return h
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Flush waits until Redis has the bookkeeping of all that has happened.
func (h *Harness) Flush() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	check(h.t, h.App.Flush(ctx))
}

// Eventually calls ok until it returns true. The test fails after Timeout.
func (h *Harness) Eventually(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(Timeout); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TripleDES accepts and issues tokens of the original's form, for the given user types; none =
// wechatUser only.
func TripleDES(desKey string, types ...string) Option {
	return func(o *framework.Options) {
		tokens, err := auth.New(auth.Config{Keys: []string{key}, Accept3DES: true, TripleDESKey: desKey, Types3DES: types})
		if err != nil {
			panic(err) // the test has given a wrong key
		}
		o.Tokens = tokens
	}
}

// Quiet drops the server's log, for tests that cause thousands of lines.
func Quiet() Option {
	return func(o *framework.Options) { o.Deps.Log = zap.NewNop() }
}
