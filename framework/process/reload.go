package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/contract"
	"wsframe/framework/manager"
)

const (
	tellTime  = 10 * time.Second // for a worker to answer a short request of a reload
	checkTime = 5 * time.Second  // for a worker that was only examined to end
	lostGrace = 2 * time.Second  // for the old worker to end after the new one was lost
)

// reloader replaces the serving worker by a new one, one reload at a time.
//
//	start next ─▶ OnReload of old ─▶ OnWorkerStart of next ─▶ transfer ─▶ end old
//	  └ fails: next is ended, old continues ◀──┴──────────────────┘
type reloader struct {
	cfg     *MasterConfig
	roster  *roster
	workers *workers
	states  *announcer
	locate  func() error // notes where the server is: the configuration's files may have changed

	running sync.WaitGroup // reloads, and ends of old workers
	drains  drains

	// handover is held from the moment in which a reload can no longer be given up until it has
	// decided which worker serves. It is taken before roster.mu.
	handover sync.Mutex
}

// Reload replaces the worker by the binary and the configuration now on disk. The new worker boots
// completely before the old one is touched; when it does not, the old one continues and the error
// says why. Then the live connections are moved where both workers can, and closed with 1012 where
// not. With check it ends before anything is replaced.
func (r *reloader) Reload(ctx context.Context, check bool) (report manager.ReloadReport, err error) {
	old, err := r.begin(check)
	if err != nil {
		return report, err
	}
	defer r.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.roster.life, cancel)()

	next, err := r.boot(ctx, old, check)
	if err != nil {
		return report, err
	}
	report.OldPID, report.NewPID = old.pid, next.pid
	report.Notes = slices.Clone(next.info.Notes)
	report.Added, report.Removed, report.Changed = difference(old.info.Routes, next.info.Routes)
	report.Breaks = contract.Breaks(old.info.Contract, next.info.Contract)
	why := movable(old.info.Transfer, next.info.Transfer)
	if check {
		if why != "" {
			report.Notes = append(report.Notes, why)
		}
		next.endWithin(checkTime)
		return report, nil
	}
	err = r.replace(ctx, old, next, why, &report)
	return report, err
}

func (r *reloader) begin(check bool) (old *child, err error) {
	r.states.mu.Lock()
	defer r.states.mu.Unlock()
	if old, err = r.roster.beginReload(); err == nil {
		r.running.Add(1) // under the lock of the stop, which waits
	}
	if !check {
		r.states.requested(err)
	}
	return old, err
}

func (r *reloader) end() {
	r.states.mu.Lock()
	defer r.states.mu.Unlock()
	r.roster.endReload()
	r.running.Done()
	if r.states.promised {
		r.states.say(Serving)
	}
}

// serving returns the worker that serves once no reload is about to decide that; nil = none does.
func (r *reloader) serving() *child {
	r.handover.Lock()
	defer r.handover.Unlock()
	c, _ := r.roster.watch()
	return c
}

// boot starts the new worker.
func (r *reloader) boot(ctx context.Context, old *child, check bool) (*child, error) {
	extra := []string{envReload + "=1"}
	if check {
		extra = append(extra, envCheck+"=1")
	}
	next, err := r.workers.start(ctx, extra...)
	switch {
	case err == nil:
		return next, nil
	case r.stopping():
		return nil, errStopping
	}
	now := "the old one goes on"
	if old.ended() {
		now = "the old one has ended meanwhile and is restarted"
	}
	r.cfg.Log.Error("reload refused: the new worker does not boot; "+now, zap.Error(err))
	return nil, fmt.Errorf("the new worker does not boot; %s: %w", now, err)
}

func (r *reloader) stopping() bool { return r.roster.life.Err() != nil }

// replace makes next serve and ends old. why is the reason for which connections cannot be moved,
// or "". After an error old continues, unless both are lost.
func (r *reloader) replace(ctx context.Context, old, next *child, why string, report *manager.ReloadReport) error {
	begun := time.Now()
	t, err := r.takeOver(ctx, old, next, why, report)
	if err != nil {
		r.cfg.Log.Error("reload failed; the old worker goes on", zap.Error(err))
		return err
	}
	bye := stopRequest{Code: 1012, Reason: "server reloads", Spread: min(r.cfg.DrainTime/2, 5*time.Second), Grace: r.cfg.DrainTime}
	var lost error
	if t != nil {
		if lost = t.finish(r.roster.life, report); lost != nil { // clients wait for another worker
			bye.Spread, bye.Grace = 0, min(bye.Grace, lostGrace)
		}
	}
	if n, limit := t.streams(); n > 0 && lost == nil && !old.ended() {
		bye.Grace = limit
		r.drain(old, bye)
		report.Notes = append(report.Notes, fmt.Sprintf("%d streams go on in the old worker, for at most %v", n, limit))
	} else if !old.ended() {
		report.Drained, err = r.roster.end(old, bye)
		if err != nil {
			r.cfg.Log.Warn("end of the old worker", zap.Error(err))
			report.Notes = append(report.Notes, "old worker: "+err.Error())
		}
	}
	if lost != nil {
		r.cfg.Log.Error("reload failed; another worker is started", zap.Error(lost))
		return lost
	}
	r.inform(ctx, next, "settled")
	if err := r.locate(); err != nil {
		r.cfg.Log.Warn("note where the server is", zap.Error(err))
	}
	if r.cfg.Reloaded != nil {
		r.cfg.Reloaded()
	}
	r.cfg.Log.Info("reloaded", zap.Int("old_pid", report.OldPID), zap.Int("new_pid", report.NewPID), zap.Int("moved", report.Moved), zap.Int("drained", report.Drained),
		zap.Duration("pause", report.Pause), zap.Duration("took", time.Since(begun)), zap.Strings("notes", report.Notes))
	return nil
}

// takeOver makes next the worker that serves. After an error old still is, and next is no more. The
// transfer, where there is one, is not finished: old's last actions may still run.
func (r *reloader) takeOver(ctx context.Context, old, next *child, why string, report *manager.ReloadReport) (*transfer, error) {
	hooks, cancel := context.WithTimeout(ctx, r.cfg.DrainTime)
	err := old.tell(hooks, "reloading")
	if err != nil && !old.ended() {
		r.cfg.Log.Warn("OnReload", zap.Error(err))
		report.Notes = append(report.Notes, "OnReload: "+err.Error())
	}
	cancel()
	var t *transfer
	if !isHang(err) { // any other failure of OnReload is only reported
		err = r.startNext(ctx, next)
	}
	if err == nil {
		t, err = r.handOver(ctx, old, next, why, report)
	}
	if err == nil {
		if t == nil {
			r.inform(ctx, next, "accept")
		}
		return t, nil
	}
	if !next.ended() {
		if _, err := r.roster.end(next, stopRequest{Code: 1012, Reason: "server reloads", Grace: tellTime}); err != nil {
			r.cfg.Log.Warn("end of the new worker", zap.Error(err))
		}
	}
	return nil, err
}

// startNext starts the application's own work in the new worker, which can still refuse.
func (r *reloader) startNext(ctx context.Context, next *child) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ReadyTime)
	defer cancel()
	err := next.tell(ctx, "start")
	switch {
	case r.stopping():
		return errStopping
	case err == nil, next.ended(): // handOver reports that
		return nil
	}
	return fmt.Errorf("the new worker does not start; the old one goes on: %w%s", err, next.tail.last())
}

// inform sends next a request that it does not refuse.
func (r *reloader) inform(ctx context.Context, next *child, kind string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
	defer cancel()
	if err := next.peer.call(ctx, kind, nil, nil); err != nil && !r.stopping() {
		r.cfg.Log.Warn("tell the new worker", zap.String("what", kind), zap.Error(err))
	}
}

// handOver decides which worker serves.
func (r *reloader) handOver(ctx context.Context, old, next *child, why string, report *manager.ReloadReport) (t *transfer, err error) {
	r.handover.Lock()
	defer r.handover.Unlock()
	hello, cancel := context.WithTimeout(ctx, tellTime)
	err = next.tell(hello, "hello")
	cancel()
	if r.stopping() {
		err = errStopping
	}
	switch {
	case next.ended():
		err = fmt.Errorf("the new worker ended as soon as it was ready (%s)%s", next.status, next.tail.last())
	case err != nil && !errors.Is(err, errStopping):
		err = fmt.Errorf("the new worker does not answer; the old one goes on: %w", err)
	case err != nil:
	case old.ended():
		report.Notes = append(report.Notes, fmt.Sprintf("the old worker had ended by itself (%s)", old.status))
	case why != "":
		r.cfg.Log.Warn("reload: " + why)
		report.Notes = append(report.Notes, why)
	default:
		t, err = beginTransfer(ctx, old, next, r.cfg.DrainTime, r.cfg.Log)
	}
	if err != nil {
		return nil, err
	}
	r.roster.appoint(next)
	return t, nil
}

// difference lists the routes that were added, were removed, or have another controller.
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
