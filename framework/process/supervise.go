package process

import (
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
)

const (
	minBackoff = 100 * time.Millisecond // before jitter
	maxBackoff = 10 * time.Second
	healthy    = time.Minute // a worker that lived so long has a first try again
)

// supervise restarts the worker when it ends by itself, until the server is to end. The listeners stay open meanwhile: clients
// wait in the kernel's queue.
func (m *Master) supervise() {
	pauses := backoff.Backoff{Min: minBackoff, Max: maxBackoff}
	for {
		m.mu.Lock()
		c, changed := m.worker, m.changed
		m.mu.Unlock()
		select {
		case <-c.exited:
		case <-changed: // a reload
			continue
		case <-m.life.Done():
			return
		}
		m.mu.Lock()
		reloading := m.reloading
		switch {
		case m.stopping:
			m.mu.Unlock()
			return
		case m.worker != c:
			m.mu.Unlock()
			continue
		case reloading != nil: // it may be bringing up the next one
			m.mu.Unlock()
			select {
			case <-reloading:
			case <-changed:
			}
			continue
		}
		m.setWorker(nil)
		m.restarts++
		m.mu.Unlock()
		if time.Since(c.since) > healthy {
			pauses.Reset()
		}
		wait := pauses.Next()
		m.cfg.Log.Error("the worker has ended; it is restarted", zap.Int("pid", c.pid), zap.String("status", c.status), zap.String("stderr", c.tail.last()),
			zap.Duration("in", wait))
		next := m.restart(wait, &pauses)
		if next == nil {
			return
		}
		m.mu.Lock()
		if m.stopping {
			m.mu.Unlock()
			next.kill()
			<-next.exited
			return
		}
		m.setWorker(next)
		m.mu.Unlock()
		m.cfg.Log.Info("the worker is back", zap.Int("pid", next.pid))
	}
}

// restart tries after wait, and then until a worker serves, each time after a longer pause; nil: the server is to end.
func (m *Master) restart(wait time.Duration, pauses *backoff.Backoff) *child {
	for {
		timer := time.NewTimer(wait)
		select {
		case <-m.life.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		next, err := m.start(m.life)
		if err == nil {
			return next
		}
		if m.life.Err() != nil {
			return nil
		}
		wait = pauses.Next()
		m.cfg.Log.Error("the worker does not boot", zap.Error(err), zap.Duration("next_try", wait))
	}
}
