// Package boot makes a worker: from the configuration on disk to an App that serves.
//
// The console runs it in worker processes. Exported functions also serve the master and the
// commands, which must agree with the worker on keys, logs, the node's name and the embedded store.
// It needs a process.Worker, which has what the master has handed over.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/process"
	"wsframe/library/config"
	"wsframe/library/db"
	"wsframe/library/log"
)

// bootTime bounds reaching Redis and the database.
const bootTime = 10 * time.Second

// Program is the application's part of a worker.
type Program struct {
	Version     string
	Controllers func(framework.Deps) ([]framework.Controller, error)
	Pages       fs.FS // served under /static/ while demo is on; nil = none
}

// Run boots the application in a worker process and serves until the master ends it. Settings are
// read from env as well.
func Run(ctx context.Context, p Program, w *process.Worker, configDir string, env []string) error {
	err := bootAndServe(ctx, p, w, configDir, env)
	if err != nil {
		w.Fail(OneLine(err)) // the master logs it
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
	l, err := OpenLog(cfg, "worker")
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
	if w.Reload { // clients have tokens of an existing key
		load = auth.LoadKey
	}
	tokens, keyFile, more, err := OpenTokens(cfg, RuntimeKey(cfg), load)
	if err != nil {
		return err
	}
	notes = append(notes, more...)
	registry := prometheus.NewRegistry()
	deps := framework.Deps{DB: orm, Redis: client, Prefix: cfg.Cache.Master.Prefix, Log: l.Logger, Metrics: registry}
	controllers, err := p.Controllers(deps)
	if err != nil {
		return fmt.Errorf("mount the controllers: %w", err)
	}
	options := framework.Options{
		Config: cfg.App, Deps: deps, Controllers: controllers, Tokens: tokens,
		Stores: stores.own, NodeID: nodeID(cfg), Place: process.Place(cfg.App.Runtime.Dir), Alone: cfg.Cache.Master.Driver == "embedded", StoreTimeout: cfg.Cache.Master.Timeout, Reload: w.Reload, Echo: echo,
		Address: address(w.Listener("outside")), Machine: machine(cfg), Version: p.Version, Begun: w.Begun,
	}
	if cfg.App.Demo {
		options.Static = p.Pages
	}
	options.SocketIO = socketIO(cfg, deps)
	php := newGateway(cfg, l.Logger)
	if php != nil {
		options.Gateway = &php.options
	}
	notes = append(append(notes, cfg.Warnings()...), unheard(cfg, w)...)
	ready := process.Ready{Version: p.Version, Notes: notes, Transfer: transferVersions, Files: cfg.Files(), KeyFile: keyFile}
	if ready.Contract, err = framework.Contract(controllers); err != nil {
		return err
	}
	if w.Check {
		return checkOnly(ctx, w, options, ready)
	}
	a, err := framework.New(boot, options)
	if err != nil {
		return err
	}
	ready.Routes = Routes(a.Routes())
	pushes, err := newPush(&cfg.App, deps, options.Alone, a, registry, l)
	if err == nil {
		err = registry.Register(&figures{a, pushes, p.Version, w.Begun})
	}
	if php != nil {
		php.attach(a)
		err = errors.Join(err, registry.Register(php))
		if !w.Reload {
			err = errors.Join(err, php.alone(boot, a))
		}
	}
	if err != nil {
		return errors.Join(err, a.Close(ctx))
	}
	serving := make(chan error, 3)
	h := &worker{app: a, push: pushes, php: php, log: l}
	h.accept = func() {
		if php != nil {
			php.start(w, a)
		}
		go func() { serving <- a.Serve(w.Listener("outside")) }()
		go func() { serving <- h.servePush(w.Listener("push")) }()
		go func() { serving <- servePages(a, w.Listener("socketio")) }()
	}
	if !w.Reload { // else the old worker accepts until its connections are here
		h.Accept()
	}
	if w.Detached {
		l.Hush()
	}
	l.Info("worker is ready", zap.Int("routes", len(ready.Routes)))
	err = w.Serve(ctx, ready, h, cfg.App.Limits.StopGrace)
	err = errors.Join(err, pushes.Shutdown(ctx), a.Close(ctx))
	h.Accept() // a closed App closes its listener
	php.close()
	return errors.Join(err, <-serving, <-serving, <-serving)
}

// fixed refuses a configuration that differs from the master's in something that cannot change
// while it runs. Connections and their records would be in different places.
func fixed(cfg *config.Config, w *process.Worker) error {
	dir, err := filepath.Abs(cfg.App.Runtime.Dir)
	if err != nil {
		return fmt.Errorf("find the runtime directory: %w", err)
	}
	switch {
	case dir != w.RuntimeDir:
		return fmt.Errorf("runtime.dir is %s now, but the server was started with %s: that needs a restart", dir, w.RuntimeDir)
	case cfg.Cache.Master.Driver == "embedded" != (w.Store.Addr != ""):
		return fmt.Errorf("cache.yaml: master.driver is %s now, but the server was started with another one: that needs a restart", cfg.Cache.Master.Driver)
	}
	return errors.Join(fixedGateway(&cfg.App.Gateway, w), fixedSocketIO(&cfg.App.SocketIO, w))
}

// unheard returns notes on configured ports on which the server does not listen: the master has
// opened others.
func unheard(cfg *config.Config, w *process.Worker) (notes []string) {
	for _, p := range []struct {
		name, key string
		port      int
	}{
		{"outside", "outside.port", cfg.App.Outside.Port}, {"push", "push.port", cfg.App.Push.Port},
		{"socketio", "socketio.port", cfg.App.SocketIO.Port}, {"gateway", "gateway.port", cfg.App.Gateway.Port}, {"register", "gateway.register_port", cfg.App.Gateway.RegisterPort},
	} {
		ln := w.Listener(p.name)
		if ln == nil {
			continue
		}
		if tcp, ok := ln.Addr().(*net.TCPAddr); ok && p.port != 0 && tcp.Port != p.port {
			notes = append(notes, fmt.Sprintf("%s is %d now, but the server listens on %d: that needs a restart", p.key, p.port, tcp.Port))
		}
	}
	return notes
}

// checkOnly reports whether this worker could serve, without taking part.
func checkOnly(ctx context.Context, w *process.Worker, o framework.Options, ready process.Ready) error {
	routes, err := framework.Examine(o)
	if err != nil {
		return err
	}
	ready.Routes = Routes(routes)
	return w.Report(ctx, ready)
}

// Routes converts the route table for the master.
func Routes(list []framework.Route) []process.Route {
	routes := make([]process.Route, len(list))
	for i, r := range list {
		routes[i] = process.Route(r)
	}
	return routes
}

// OpenLog opens the log that the configuration describes, for a process of that name.
func OpenLog(cfg *config.Config, name string) (*log.Logger, error) {
	c := &cfg.App.Log
	return log.New(log.Options{
		Dir: filepath.Join(cfg.App.Runtime.Dir, "logs"), Level: c.Level, MaxSizeMB: c.MaxSizeMB, MaxDays: c.MaxDays, MaxFiles: c.MaxFiles, Name: name,
	})
}

// OneLine replaces the line breaks of an error's text.
func OneLine(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}
