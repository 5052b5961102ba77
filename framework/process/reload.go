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

var (
	errReloading = errors.New("a reload is already running")
	errStopping  = errors.New("the server is stopping")
	errNoWorker  = errors.New("there is no worker at the moment; it is being restarted")
)

// tellTime bounds what the master tells a worker in passing; checkTime is how long a worker that was only examined may take to
// end, and lostGrace one that has handed its connections to a worker which is no more.
const (
	tellTime  = 10 * time.Second
	checkTime = 5 * time.Second
	lostGrace = 2 * time.Second
)

// Reload replaces the worker by the binary and the configuration now on disk. The new worker boots completely before the old
// one is touched; when it does not, the old one goes on and the error says why. Then the live connections are moved, where both
// workers can, and closed with 1012 where not.
func (m *Master) Reload(ctx context.Context, check bool) (r manager.ReloadReport, err error) {
	old, err := m.beginReload(check)
	if err != nil {
		return r, err
	}
	defer m.endReload()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()

	extra := []string{envReload + "=1"}
	if check {
		extra = append(extra, envCheck+"=1")
	}
	next, err := m.start(ctx, extra...)
	if m.life.Err() != nil && err != nil {
		return r, errStopping
	}
	if err != nil {
		now := "the old one goes on"
		if old.ended() {
			now = "the old one has ended meanwhile and is restarted"
		}
		m.cfg.Log.Error("reload refused: the new worker does not boot; "+now, zap.Error(err))
		return r, fmt.Errorf("the new worker does not boot; %s: %w", now, err)
	}
	r.OldPID, r.NewPID = old.pid, next.pid
	r.Notes = slices.Clone(next.info.Notes)
	r.Added, r.Removed, r.Changed = difference(old.info.Routes, next.info.Routes)
	why := movable(old.info.Transfer, next.info.Transfer)
	if check {
		if why != "" {
			r.Notes = append(r.Notes, why)
		}
		next.endWithin(checkTime)
		return r, nil
	}
	begun := time.Now()
	t, err := m.replace(ctx, old, next, why, &r)
	if err != nil {
		m.cfg.Log.Error("reload failed; the old worker goes on", zap.Error(err))
		return r, err
	}
	bye := stopRequest{Code: 1012, Reason: "server reloads", Spread: min(m.cfg.DrainTime/2, 5*time.Second), Grace: m.cfg.DrainTime}
	var lost error
	if t != nil {
		if lost = m.finish(t, &r); lost != nil { // who comes waits for the next worker, and that one for the end of this
			bye.Spread, bye.Grace = 0, min(bye.Grace, lostGrace)
		}
	}
	if !old.ended() {
		r.Drained, err = m.endCounted(old, bye)
		if err != nil {
			m.cfg.Log.Warn("end of the old worker", zap.Error(err))
			r.Notes = append(r.Notes, "old worker: "+err.Error())
		}
	}
	if lost != nil {
		m.cfg.Log.Error("reload failed; another worker is started", zap.Error(lost))
		return r, lost
	}
	m.inform(ctx, next, "settled")
	if err := m.writeLocation(); err != nil {
		m.cfg.Log.Warn("note where the server is", zap.Error(err))
	}
	if m.cfg.Reloaded != nil {
		m.cfg.Reloaded()
	}
	m.cfg.Log.Info("reloaded", zap.Int("old_pid", r.OldPID), zap.Int("new_pid", r.NewPID), zap.Int("moved", r.Moved), zap.Int("drained", r.Drained),
		zap.Duration("pause", r.Pause), zap.Duration("took", time.Since(begun)), zap.Strings("notes", r.Notes))
	return r, nil
}

func (m *Master) beginReload(check bool) (old *child, err error) {
	m.sayMu.Lock()
	defer m.sayMu.Unlock()
	m.mu.Lock()
	switch {
	case m.stopping:
		err = errStopping
	case m.reloading != nil:
		err = errReloading
	case m.worker == nil:
		err = errNoWorker
	case m.worker.hung() != nil:
		err = m.worker.hung()
	default:
		m.reloading = make(chan struct{})
		m.reloads.Add(1)
	}
	old = m.worker
	m.mu.Unlock()
	if !check {
		m.sayRequested(err)
	}
	return old, err
}

func (m *Master) endReload() {
	m.sayMu.Lock()
	defer m.sayMu.Unlock()
	if m.promised {
		defer m.say(Serving)
	}
	m.mu.Lock()
	close(m.reloading)
	m.reloading = nil
	m.mu.Unlock()
	m.reloads.Done()
}

// replace makes next the worker that serves; after an error old still is, and next is no more. Why is the reason for which
// connections cannot be moved, or "". The transfer, where there is one, is not finished: old's last actions may still run.
func (m *Master) replace(ctx context.Context, old, next *child, why string, r *manager.ReloadReport) (*transfer, error) {
	hooks, cancel := context.WithTimeout(ctx, m.cfg.DrainTime)
	err := old.tell(hooks, "reloading")
	if err != nil && !old.ended() {
		m.cfg.Log.Warn("OnReload", zap.Error(err))
		r.Notes = append(r.Notes, "OnReload: "+err.Error())
	}
	cancel()
	var t *transfer
	if !isHang(err) { // an OnReload that failed is told only
		err = m.startNext(ctx, next)
	}
	if err == nil {
		t, err = m.handOver(ctx, old, next, why, r)
	}
	if err == nil {
		if t == nil {
			m.inform(ctx, next, "accept")
		}
		return t, nil
	}
	if !next.ended() {
		if err := m.end(next, stopRequest{Code: 1012, Reason: "server reloads", Grace: tellTime}); err != nil {
			m.cfg.Log.Warn("end of the new worker", zap.Error(err))
		}
	}
	return nil, err
}

// startNext has the new worker's application start, as late as it can still be refused.
func (m *Master) startNext(ctx context.Context, next *child) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.ReadyTime)
	defer cancel()
	err := next.tell(ctx, "start")
	switch {
	case m.life.Err() != nil:
		return errStopping
	case err == nil, next.ended(): // handOver says that
		return nil
	}
	return fmt.Errorf("the new worker does not start; the old one goes on: %w%s", err, next.tail.last())
}

func isHang(err error) bool {
	var hung *hangError
	return errors.As(err, &hung)
}

// inform tells next something that it does not refuse.
func (m *Master) inform(ctx context.Context, next *child, kind string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
	defer cancel()
	if err := next.peer.call(ctx, kind, nil, nil); err != nil && m.life.Err() == nil {
		m.cfg.Log.Warn("tell the new worker", zap.String("what", kind), zap.Error(err))
	}
}

// handOver decides which worker serves.
func (m *Master) handOver(ctx context.Context, old, next *child, why string, r *manager.ReloadReport) (t *transfer, err error) {
	m.handover.Lock()
	defer m.handover.Unlock()
	hello, cancel := context.WithTimeout(ctx, tellTime)
	err = next.tell(hello, "hello")
	cancel()
	if m.life.Err() != nil {
		err = errStopping
	}
	switch {
	case next.ended():
		err = fmt.Errorf("the new worker ended as soon as it was ready (%s)%s", next.status, next.tail.last())
	case err != nil && !errors.Is(err, errStopping):
		err = fmt.Errorf("the new worker does not answer; the old one goes on: %w", err)
	case err != nil:
	case old.ended():
		r.Notes = append(r.Notes, fmt.Sprintf("the old worker had ended by itself (%s)", old.status))
	case why != "":
		m.cfg.Log.Warn("reload: " + why)
		r.Notes = append(r.Notes, why)
	default:
		t, err = m.beginTransfer(ctx, old, next)
	}
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.setWorker(next)
	m.mu.Unlock()
	return t, nil
}

// difference lists the routes that come, go, and are another controller's.
func difference(old, next []Route) (added, removed, changed []string) {
	before := make(map[string]string, len(old))
	for _, r := range old {
		before[r.Method] = r.Controller
	}
	for _, r := range next {
		controller, known := before[r.Method]
		switch {
		case !known:
			added = append(added, r.Method)
		case controller != r.Controller:
			changed = append(changed, r.Method)
		}
		delete(before, r.Method)
	}
	for method := range before {
		removed = append(removed, method)
	}
	slices.Sort(removed)
	return added, removed, changed
}
