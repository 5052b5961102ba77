package process

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxDrains is how many old workers may go on with their streams. One more ends the oldest.
const maxDrains = 4

// drains are the old workers whose streams go on.
type drains struct {
	mu   sync.Mutex
	list []*child // the oldest first
}

// add adds a worker, and returns the one that is too many.
func (d *drains) add(c *child) (tooMany *child) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.list = append(d.list, c); len(d.list) > maxDrains {
		tooMany, d.list = d.list[0], d.list[1:]
	}
	return tooMany
}

func (d *drains) remove(c *child) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = slices.DeleteFunc(d.list, func(other *child) bool { return other == c })
}

// drain ends a worker that has handed its connections over, in the background: it may go on with
// its streams for the grace time of the request, until the server stops, or until it is too many. A
// reload is under way.
func (r *reloader) drain(old *child, bye stopRequest) {
	hurry := bye
	hurry.Spread, hurry.Grace = 0, lostGrace
	if c := r.drains.add(old); c != nil {
		r.running.Go(func() { _, _ = r.roster.end(c, hurry) }) // who drains it reports the error
	}
	r.running.Go(func() {
		defer r.drains.remove(old)
		defer context.AfterFunc(r.roster.life, func() { _, _ = r.roster.end(old, hurry) })()
		if _, err := r.roster.end(old, bye); err != nil {
			r.cfg.Log.Warn("end of an old worker whose streams went on", zap.Error(err))
		}
	})
}

// streams returns the number of streams that go on in the old worker, and for how long they may.
func (t *transfer) streams() (n int, limit time.Duration) {
	if t == nil {
		return 0, 0
	}
	select {
	case <-t.sender.done:
		return t.sender.answer.Report.Streams, t.sender.answer.Report.StreamDrain
	default:
		return 0, 0
	}
}
