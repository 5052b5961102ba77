package framework

import (
	"sync/atomic"
	"time"
)

// pace learns whether an action is quick enough to run in an event loop. It is safe for concurrent use.
//
// An action starts as a slow one. It is quick after a number of quick calls in a row, and slow again at the
// first slow call. Each slow call doubles that number, so actions that are slow by chance leave the loops.
type pace struct {
	run  atomic.Int32 // quick calls in a row
	need atomic.Int32 // calls in a row that it takes, less firstRun
}

const (
	quickCall = 100 * time.Microsecond
	slowCall  = time.Millisecond
	firstRun  = 16
	longRun   = 4096
)

func (p *pace) quick() bool { return p.run.Load() >= firstRun+p.need.Load() }

func (p *pace) add(took time.Duration) {
	switch {
	case took >= slowCall:
		p.run.Store(0)
		p.need.Store(min(2*p.need.Load()+firstRun, longRun))
	case p.quick():
	case took <= quickCall:
		p.run.Add(1)
	default:
		p.run.Store(0)
	}
}
