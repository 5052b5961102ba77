package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/manager"
)

// Status implements manager.Backend.
func (m *Master) Status(ctx context.Context) (manager.Status, error) {
	c, restarts, before := m.roster.counts()
	s := manager.Status{
		Version: m.cfg.Version, MasterVersion: m.cfg.Version, MasterPID: os.Getpid(), WorkerRestarts: restarts, Store: m.cfg.StoreKind,
		RuntimeDir:    absolute(m.cfg.RuntimeDir),
		UptimeSeconds: int64(time.Since(m.workers.begun).Seconds()), MemoryBytes: residentBytes(os.Getpid()),
		WorkerState: manager.WorkerRestarts,
	}
	if c == nil {
		return s, nil
	}
	s.KeyFile = c.info.KeyFile
	var w Stats
	var hung *hangError
	switch err := c.ask(ctx, "stats", nil, &w); {
	case errors.Is(err, errPeerGone):
		return s, nil // it has ended just now
	case errors.As(err, &hung):
		s.WorkerState, s.WorkerPID, s.WorkerSilentSeconds, s.NodesError = manager.WorkerHangs, c.pid, int64(hung.silent.Seconds()), hung.Error()
		return s, nil
	case err != nil:
		return s, fmt.Errorf("ask the worker: %w", err)
	}
	s.WorkerState, s.WorkerPID, s.MemoryBytes = manager.WorkerServes, c.pid, s.MemoryBytes+residentBytes(c.pid)
	w.add(before)
	s.Connections, s.Rooms, s.Goroutines, s.StorePending = w.Connections, w.Rooms, w.Goroutines, w.StorePending
	s.MessagesIn, s.MessagesOut, s.BytesIn, s.BytesOut = w.MessagesIn, w.MessagesOut, w.BytesIn, w.BytesOut
	s.ClosedSlow, s.ClosedIdle, s.Dropped, s.UIDs = w.Slow, w.Idle, w.Dropped, w.UIDs
	s.Gateway = w.Gateway
	s.Version = cmp.Or(c.info.Version, s.Version)
	ctx, cancel := context.WithTimeout(ctx, nodesTime)
	defer cancel()
	var err error
	if s.Nodes, err = c.nodes(ctx); err != nil { // the store is unreachable: all else holds
		s.NodesError = err.Error()
	}
	return s, nil
}

func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir
}

// nodesTime bounds the wait of a status for the store.
const nodesTime = 2 * time.Second

// Nodes implements manager.Backend.
func (m *Master) Nodes(ctx context.Context) ([]manager.NodeInfo, error) {
	c, err := m.roster.serving()
	if err != nil {
		return nil, err
	}
	list, err := c.nodes(ctx)
	return list, gone(err)
}

// Say implements manager.Backend.
func (m *Master) Say(ctx context.Context, text string) (n int, err error) {
	c, err := m.roster.serving()
	if err != nil {
		return 0, err
	}
	return n, gone(c.ask(ctx, "say", text, &n))
}

// Connections implements manager.Backend.
func (m *Master) Connections(ctx context.Context, offset, limit int) (list []manager.ConnInfo, err error) {
	c, err := m.roster.serving()
	if err != nil {
		return nil, err
	}
	return list, gone(c.ask(ctx, "connections", pageRequest{offset, limit}, &list))
}

// gone replaces errPeerGone by an error for people.
func gone(err error) error {
	if errors.Is(err, errPeerGone) {
		return errNoWorker
	}
	return err
}

// ReopenLogs makes all processes reopen their log files.
func (m *Master) ReopenLogs() {
	m.cfg.Reopen()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var asked sync.WaitGroup
	for _, c := range m.workers.all() {
		asked.Go(func() {
			if err := c.ask(ctx, "reopen", nil, nil); err != nil && !errors.Is(err, errPeerGone) {
				m.cfg.Log.Warn("reopen a worker's log", zap.Int("pid", c.pid), zap.Error(err))
			}
		})
	}
	asked.Wait()
}
