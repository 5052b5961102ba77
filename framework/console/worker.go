package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/internal/hub"
	"wsframe/framework/manager"
	"wsframe/framework/process"
	"wsframe/framework/push"
	"wsframe/library/config"
	"wsframe/library/db"
	"wsframe/library/log"
)

// bootTime bounds reaching Redis and the database.
const bootTime = 10 * time.Second

// worker is the application of one worker process; it implements process.Handler.
type worker struct {
	app  *framework.App
	push *push.Server
	log  *log.Logger

	accept     func() // begins accepting
	acceptOnce sync.Once
	handed     atomic.Bool // its connections are another worker's
}

// runWorker boots the application and serves until the master ends it.
func runWorker(ctx context.Context, p Program, w *process.Worker, configDir string, env []string) error {
	err := bootAndServe(ctx, p, w, configDir, env)
	if err != nil {
		w.Fail(oneLine(err)) // the master says it
	}
	return err
}

func bootAndServe(ctx context.Context, p Program, w *process.Worker, configDir string, env []string) (err error) {
	cfg, err := config.Load(configDir, env)
	if err == nil {
		err = cfg.Keeps(configDir, w.Files)
	}
	if err != nil {
		return err
	}
	l, err := openLog(cfg, "worker")
	if err != nil {
		return err
	}
	defer l.Close()
	if err := fixed(cfg, w); err != nil {
		return err
	}
	boot, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()

	reached, err := redisOptions(cfg, w.Store, l.Logger)
	if err != nil {
		return err
	}
	client, stores, err := openStores(boot, reached)
	if err != nil {
		return err
	}
	defer stores.close()
	notes, err := storeNotes(boot, cfg, w.Store, client)
	if err != nil {
		return err
	}
	reach, cancel := context.WithTimeout(boot, cfg.DB.Master.Timeout)
	defer cancel()
	orm, err := db.Open(reach, db.Options{Driver: cfg.DB.Master.Driver, DSN: cfg.DB.Master.DSN, MaxOpen: cfg.DB.Master.MaxOpen, Log: l.Logger})
	if err != nil {
		return err
	}
	defer db.Close(orm)
	load := auth.LoadOrCreateKey
	if w.Reload { // the tokens that are out there were issued with a key that there was
		load = auth.LoadKey
	}
	tokens, keyFile, more, err := openTokens(cfg, runtimeKey(cfg), load)
	if err != nil {
		return err
	}
	notes = append(notes, more...)
	deps := framework.Deps{DB: orm, Redis: client, Prefix: cfg.Cache.Master.Prefix, Log: l.Logger}
	controllers, err := p.Controllers(deps)
	if err != nil {
		return fmt.Errorf("mount the controllers: %w", err)
	}
	options := framework.Options{
		Config: cfg.App, Deps: deps, Controllers: controllers, Tokens: tokens,
		Stores: stores.own, NodeID: nodeID(cfg), Place: process.Place(cfg.App.Runtime.Dir), Alone: cfg.Cache.Master.Driver == "embedded", StoreTimeout: cfg.Cache.Master.Timeout, Reload: w.Reload, RawHandler: rawHandler,
		Address: address(w.Listener("outside")), Machine: machine(cfg), Version: p.Version, Begun: w.Begun,
	}
	if cfg.App.Demo {
		options.Static = p.Pages
	}
	notes = append(append(notes, cfg.Warnings()...), unheard(cfg, w)...)
	ready := process.Ready{Version: p.Version, Notes: notes, Transfer: transferVersions, Files: cfg.Files(), KeyFile: keyFile}
	if w.Check {
		return checkOnly(ctx, w, options, ready)
	}
	a, err := framework.New(boot, options)
	if err != nil {
		return err
	}
	ready.Routes = routesOf(a.Routes())
	pushes, err := newPush(p.Version, &cfg.App, deps, options.Alone, a, w.Begun, l)
	if err != nil {
		return errors.Join(err, a.Close(ctx))
	}
	serving := make(chan error, 2)
	h := &worker{app: a, push: pushes, log: l}
	h.accept = func() {
		go func() { serving <- a.Serve(w.Listener("outside")) }()
		go func() { serving <- h.servePush(w.Listener("push")) }()
	}
	if !w.Reload { // else who comes is served by the old worker until its connections are here: what is published then reaches all of them
		h.Accept()
	}
	if w.Detached {
		l.Hush()
	}
	l.Info("worker is ready", zap.Int("routes", len(ready.Routes)))
	err = w.Serve(ctx, ready, h, cfg.App.Limits.StopGrace)
	err = errors.Join(err, pushes.Shutdown(ctx), a.Close(ctx))
	h.Accept() // an App that is closed closes what it is given
	return errors.Join(err, <-serving, <-serving)
}

// fixed refuses a configuration in which what cannot change while the master runs is another one: connections and their bookkeeping
// would be in one place, and this worker look for them in another.
func fixed(cfg *config.Config, w *process.Worker) error {
	dir, err := filepath.Abs(cfg.App.Runtime.Dir)
	if err != nil {
		return fmt.Errorf("find the runtime directory: %w", err)
	}
	switch {
	case w.RuntimeDir != "" && dir != w.RuntimeDir: // a master of before says nothing
		return fmt.Errorf("runtime.dir is %s now, but the server was started with %s: that needs a restart", dir, w.RuntimeDir)
	case cfg.Cache.Master.Driver == "embedded" != (w.Store.Addr != ""):
		return fmt.Errorf("cache.yaml: master.driver is %s now, but the server was started with another one: that needs a restart", cfg.Cache.Master.Driver)
	}
	return nil
}

// unheard tells of ports in the configuration that the server does not listen on: the master has opened others.
func unheard(cfg *config.Config, w *process.Worker) (notes []string) {
	for _, p := range []struct {
		name string
		port int
	}{{"outside", cfg.App.Outside.Port}, {"push", cfg.App.Push.Port}} {
		ln := w.Listener(p.name)
		if ln == nil {
			continue
		}
		if tcp, ok := ln.Addr().(*net.TCPAddr); ok && p.port != 0 && tcp.Port != p.port {
			notes = append(notes, fmt.Sprintf("%s.port is %d now, but the server listens on %d: that needs a restart", p.name, p.port, tcp.Port))
		}
	}
	return notes
}

// Start implements process.Starter.
func (w *worker) Start() error { return w.app.Start() }

func (w *worker) Accept() { w.acceptOnce.Do(w.accept) }

// checkOnly tells whether this worker could serve, without taking part.
func checkOnly(ctx context.Context, w *process.Worker, o framework.Options, ready process.Ready) error {
	routes, err := framework.Examine(o)
	if err != nil {
		return err
	}
	ready.Routes = routesOf(routes)
	return w.Report(ctx, ready)
}

func routesOf(list []framework.Route) []process.Route {
	routes := make([]process.Route, len(list))
	for i, r := range list {
		routes[i] = process.Route(r)
	}
	return routes
}

func openLog(cfg *config.Config, name string) (*log.Logger, error) {
	c := &cfg.App.Log
	return log.New(log.Options{
		Dir: filepath.Join(cfg.App.Runtime.Dir, "logs"), Level: c.Level, MaxSizeMB: c.MaxSizeMB, MaxDays: c.MaxDays, MaxFiles: c.MaxFiles, Name: name,
	})
}

// runtimeKey is where the key of tokens lies that no configuration has.
func runtimeKey(cfg *config.Config) string { return filepath.Join(cfg.App.Runtime.Dir, "auth.key") }

// configuredKey is the key that the configuration has for w1 tokens, or "". An old one may be there that is for 3DES only.
func configuredKey(cfg *config.Config) (key string, old bool) {
	a := &cfg.App.Auth
	if a.Accept3DES && a.Key == a.Key3DES && !auth.Fits(a.Key) {
		return "", a.Key != ""
	}
	return a.Key, false
}

// openTokens takes the keys from the configuration, or one from the file at path, as load reads it. Used is that path made
// absolute, or "" where the key is configured.
func openTokens(cfg *config.Config, path string, load func(path string) (string, bool, error)) (t *auth.Tokens, used string, notes []string, err error) {
	a := &cfg.App.Auth
	key, old := configuredKey(cfg)
	if old {
		notes = append(notes, "auth.key is published or short: it is for 3DES tokens only")
	}
	if key == "" {
		var created bool
		if key, created, err = load(path); err == nil {
			used, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, "", nil, err
		}
		why := "auth.key is not configured"
		if len(notes) > 0 {
			why = "w1 tokens have another key"
		}
		if created {
			notes = append(notes, why+": a random key was made in "+path)
		} else {
			notes = append(notes, why+": the key in "+path+" is used")
		}
	}
	t, err = auth.New(auth.Config{
		Keys: []string{key, a.PreviousKey}, Accept3DES: a.Accept3DES, TripleDESKey: a.Key3DES, Types3DES: a.Types3DES, Lifetime: a.Lifetime, Skew: a.Skew,
	})
	return t, used, notes, err
}

func (w *worker) Stats() process.Stats {
	s := w.app.Hub().Stats()
	pending, _ := w.app.Node().Pending()
	return process.Stats{
		Connections: s.Connections, Rooms: s.Rooms, MessagesIn: s.MessagesIn, MessagesOut: s.MessagesOut,
		BytesIn: s.BytesIn, BytesOut: s.BytesOut, Slow: s.Slow, Idle: s.Idle,
		Goroutines: runtime.NumGoroutine(), StorePending: pending, UIDs: s.Users, Dropped: s.Dropped,
	}
}

func (w *worker) Nodes(ctx context.Context) ([]manager.NodeInfo, error) {
	signs, err := w.app.Signs(ctx)
	list := make([]manager.NodeInfo, len(signs))
	for i, s := range signs {
		list[i] = manager.NodeInfo{
			ID: s.ID, Self: s.Self, State: manager.NodeDead, Host: s.Host, Address: s.Address, Version: s.Version, WorkerPID: s.PID,
			Connections: s.Connections, UIDs: s.UIDs, Rooms: s.Rooms, Since: s.Since, RefreshedSeconds: int64(max(s.Age, -time.Second) / time.Second),
		}
		if s.Living {
			list[i].State = manager.NodeAlive
		}
	}
	return list, err
}

func (w *worker) Say(text string) int { return w.app.Say(text) }

func (w *worker) Connections(offset, limit int) []manager.ConnInfo {
	var fds []int64
	w.app.Hub().Each(func(c *hub.Conn) bool { fds = append(fds, c.FD); return true })
	slices.Sort(fds)
	fds = fds[min(offset, len(fds)):]
	fds = fds[:min(limit, len(fds))]
	list := make([]manager.ConnInfo, 0, len(fds))
	for _, fd := range fds {
		c := w.app.Hub().Get(fd)
		if c == nil {
			continue
		}
		in, out := c.Counts()
		waiting, _ := c.Pending()
		list = append(list, manager.ConnInfo{
			FD: fd, ID: c.Auth.ID, Type: c.Auth.Type, Code: c.Auth.Code, Remote: c.Remote, Since: c.Since.Unix(),
			IdleSeconds: int64(c.Idle().Seconds()), MessagesIn: in, MessagesOut: out, OutboxBytes: waiting, Rooms: len(c.Rooms()),
		})
	}
	return list
}

func (w *worker) Reloading(ctx context.Context) error { return w.app.Reloading(ctx) }

func (w *worker) Stop(ctx context.Context, code int, reason string, spread time.Duration) (int, error) {
	err := w.push.Shutdown(ctx)
	w.app.StopAccepting()
	n := w.app.Hub().Own()
	if w.handed.Load() && n == 0 {
		err = errors.Join(err, w.app.Close(ctx)) // what still runs speaks to nobody
	} else {
		err = errors.Join(err, w.app.Shutdown(ctx, code, reason, spread))
	}
	w.log.Info("worker has stopped", zap.Int("code", code), zap.Int("connections", n), zap.Error(err))
	return n, err
}

func (w *worker) Settled() {
	w.Accept()
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	if err := w.app.Settled(ctx); err != nil {
		w.log.Error("this node is out of touch with the others", zap.Error(err))
	}
}

func (w *worker) ReopenLogs() {
	if err := w.log.Reopen(); err != nil {
		w.log.Error("reopen the log", zap.Error(err))
	}
}
