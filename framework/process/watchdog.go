package process

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// watchdog asks the serving worker for a sign of life at each tick, and kills one that hangs for
// too long: the supervisor starts another.
type watchdog struct {
	roster *roster
	alive  func() // called at each tick at which all is well; may be nil
	log    *zap.Logger
}

// run ends when done is closed.
func (w *watchdog) run(done <-chan struct{}) {
	ticker := time.NewTicker(pulseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-done:
			return
		}
		c, err := w.roster.serving()
		if err == nil && !w.beat(c, time.Now()) {
			continue
		}
		if w.alive != nil {
			w.alive()
		}
	}
}

// beat reports whether c answers.
func (w *watchdog) beat(c *child, now time.Time) bool {
	silent, noticed := c.pulse.tick(now)
	if noticed {
		w.log.Error("the worker hangs: it does not answer its heartbeat", zap.Int("pid", c.pid), zap.Duration("silent", silent))
	}
	if c.hangLimit > 0 && silent >= c.hangLimit {
		w.log.Error("the worker hangs for too long; it is killed", zap.Int("pid", c.pid), zap.Duration("silent", silent))
		c.kill()
		return false
	}
	if c.pulse.ask() {
		go func() { c.pulse.answered(c.peer.call(context.Background(), "hello", nil, nil)) }() // ends with the worker
	}
	return c.hung() == nil
}
