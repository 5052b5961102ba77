package process

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// workers starts worker processes and knows those that run. Methods are safe for concurrent use.
type workers struct {
	cfg    *MasterConfig
	roster *roster
	dir    string // where workers run
	begun  time.Time

	// listeners and store are set before the first start.
	listeners []*os.File
	store     Store

	// spawning is held while a worker is started, until it is in live: orphans are reaped
	// meanwhile. It is taken before mu.
	spawning sync.Mutex
	mu       sync.Mutex
	live     map[*child]struct{}
}

func newWorkers(cfg *MasterConfig, r *roster) *workers {
	dir, err := os.Getwd()
	if err != nil {
		dir = "" // workers inherit it
	}
	return &workers{cfg: cfg, roster: r, dir: dir, begun: time.Now(), live: map[*child]struct{}{}}
}

// start starts a worker with additional settings in its environment, and waits until it is ready.
func (w *workers) start(ctx context.Context, extra ...string) (*child, error) {
	names := make([]string, len(w.cfg.Sockets))
	for i, s := range w.cfg.Sockets {
		names[i] = s.Name
	}
	runtimeDir, err := filepath.Abs(w.cfg.RuntimeDir)
	if err != nil {
		return nil, fmt.Errorf("find the runtime directory: %w", err)
	}
	env := append(slices.Clone(w.cfg.Env),
		envRole+"=worker",
		envFiles+"="+strings.Join(w.roster.configFiles(), ","),
		envRuntime+"="+runtimeDir,
		envSockets+"="+strings.Join(names, ","),
		envBegun+"="+strconv.FormatInt(w.begun.Unix(), 10),
	)
	if w.store.Addr != "" {
		env = append(env, envStore+"="+w.store.Addr+" "+w.store.Password)
	}
	if w.cfg.Detached {
		env = append(env, envDetach+"=1")
	}
	c, err := w.spawn(append(env, extra...))
	if err != nil {
		return nil, err
	}
	return c, c.boot(ctx, w.cfg.ReadyTime)
}

func (w *workers) track(c *child) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[c] = struct{}{}
}

func (w *workers) untrack(c *child) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.live, c)
}

// all returns the workers that run: two during a reload.
func (w *workers) all() []*child {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.live))
}

// has reports whether a process is a worker.
func (w *workers) has(pid int) bool {
	w.spawning.Lock()
	defer w.spawning.Unlock()
	return slices.ContainsFunc(w.all(), func(c *child) bool { return c.pid == pid })
}

func (w *workers) closeListeners() {
	for _, f := range w.listeners {
		_ = f.Close()
	}
}
