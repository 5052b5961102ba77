package process

import (
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
)

const (
	minBackoff = 100 * time.Millisecond // before jitter
	maxBackoff = 10 * time.Second
	healthy    = time.Minute // after which the next restart is again after minBackoff
)

// supervisor restarts a worker that has ended by itself. The listeners stay open meanwhile: clients
// wait in the kernel's queue.
type supervisor struct {
	roster  *roster
	workers *workers
	log     *zap.Logger
	pauses  backoff.Backoff
}

func newSupervisor(r *roster, w *workers, log *zap.Logger) *supervisor {
	return &supervisor{roster: r, workers: w, log: log, pauses: backoff.Backoff{Min: minBackoff, Max: maxBackoff}}
}

// run ends when the server is to end.
func (s *supervisor) run() {
	stop := s.roster.life.Done()
	for {
		c, changed := s.roster.watch()
		select {
		case <-c.exited:
		case <-changed: // a reload
			continue
		case <-stop:
			return
		}
		removed, reloading := s.roster.remove(c)
		if !removed {
			if reloading != nil {
				select {
				case <-reloading:
				case <-changed:
				}
			}
			if s.roster.life.Err() != nil {
				return
			}
			continue
		}
		if time.Since(c.since) > healthy {
			s.pauses.Reset()
		}
		wait := s.pauses.Next()
		s.log.Error("the worker has ended; it is restarted", zap.Int("pid", c.pid), zap.String("status", c.status), zap.String("stderr", c.tail.last()),
			zap.Duration("in", wait))
		next := s.restart(wait)
		if next == nil {
			return
		}
		if !s.roster.appointRestarted(next) {
			next.kill()
			<-next.exited
			return
		}
		s.log.Info("the worker is back", zap.Int("pid", next.pid))
	}
}

// restart starts a worker after wait, and again after growing pauses until one serves. It returns
// nil when the server is to end.
func (s *supervisor) restart(wait time.Duration) *child {
	life := s.roster.life
	for {
		timer := time.NewTimer(wait)
		select {
		case <-life.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		next, err := s.workers.start(life)
		if err == nil {
			return next
		}
		if life.Err() != nil {
			return nil
		}
		wait = s.pauses.Next()
		s.log.Error("the worker does not boot", zap.Error(err), zap.Duration("next_try", wait))
	}
}
