package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/manager"
)

var errReloading = errors.New("a reload is already running")

// Reload replaces the worker by the binary and the configuration now on disk. The new worker boots completely before the old
// one is touched; when it does not, the old one goes on and the error says why.
func (m *Master) Reload(ctx context.Context, check bool) (r manager.ReloadReport, err error) {
	m.mu.Lock()
	old := m.worker
	switch {
	case m.stopping:
		err = errors.New("the server is stopping")
	case m.reloading:
		err = errReloading
	case old == nil:
		err = errors.New("there is no worker at the moment; it is being restarted")
	default:
		m.reloading = true
	}
	m.mu.Unlock()
	if err != nil {
		return r, err
	}
	defer func() {
		m.mu.Lock()
		m.reloading = false
		m.mu.Unlock()
	}()
	extra := []string{envReload + "=1"}
	if check {
		extra = append(extra, envCheck+"=1")
	}
	next, err := m.start(ctx, extra...)
	if err != nil {
		m.cfg.Log.Error("reload refused: the new worker does not boot; the old one goes on", zap.Error(err))
		return r, fmt.Errorf("the new worker does not boot; the old one goes on: %w", err)
	}
	r.OldPID, r.NewPID = old.pid, next.pid
	r.Notes = next.info.Notes
	r.Added, r.Removed = difference(old.info.Routes, next.info.Routes)
	if check {
		<-next.exited
		return r, nil
	}
	hooks, cancel := context.WithTimeout(ctx, m.cfg.DrainTime)
	if err := old.peer.call(hooks, "reloading", nil, nil); err != nil {
		m.cfg.Log.Warn("OnReload", zap.Error(err))
		r.Notes = append(r.Notes, "OnReload: "+err.Error())
	}
	cancel()
	m.mu.Lock()
	if m.stopping {
		m.mu.Unlock()
		next.kill()
		<-next.exited
		return r, errors.New("the server is stopping")
	}
	m.worker = next
	m.mu.Unlock()
	begun := time.Now()
	r.Drained, err = m.endCounted(old, stopRequest{Code: 1012, Reason: "server reloads", Spread: min(m.cfg.DrainTime/2, 5*time.Second), Grace: m.cfg.DrainTime})
	if err != nil {
		m.cfg.Log.Warn("end of the old worker", zap.Error(err))
		r.Notes = append(r.Notes, "old worker: "+err.Error())
	}
	if err := next.peer.call(ctx, "settled", nil, nil); err != nil {
		m.cfg.Log.Warn("tell the new worker that it is alone", zap.Error(err))
	}
	m.cfg.Log.Info("reloaded", zap.Int("old_pid", r.OldPID), zap.Int("new_pid", r.NewPID), zap.Int("moved", r.Moved), zap.Int("drained", r.Drained), zap.Duration("took", time.Since(begun)))
	return r, nil
}

// difference lists the routes that come and go.
func difference(old, next []Route) (added, removed []string) {
	only := func(a, b []Route) (list []string) {
		for _, r := range a {
			if !slices.ContainsFunc(b, func(o Route) bool { return o.Method == r.Method }) {
				list = append(list, r.Method)
			}
		}
		return list
	}
	return only(next, old), only(old, next)
}
