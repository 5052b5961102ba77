package framework

import (
	"sync/atomic"
	"time"
)

// Values of declared paces, as `console -s routes` shows them.
const (
	paceInline   = "inline"
	paceBlocking = "blocking"
)

// pace learns whether an action is quick enough to run in an event loop. It is safe for concurrent
// use.
//
// An action starts as a slow one. It is quick after some quick calls in a row, and slow again at
// the first slow call. If slow calls are frequent each one doubles that number, so an action that
// is slow by chance leaves the loops. A slow call that is rare is forgotten, because the kernel may
// have run another process.
type pace struct {
	blocking bool         // declared
	run      atomic.Int32 // quick calls in a row, longRun at most
	need     atomic.Int32 // calls in a row that it takes, less firstRun
}

const (
	quickCall = 100 * time.Microsecond
	slowCall  = time.Millisecond
	firstRun  = 16
	longRun   = 1024
)

func (p *pace) declared(as string) {
	switch as {
	case paceInline:
		p.run.Store(firstRun)
	case paceBlocking:
		p.blocking = true
	}
}

func (p *pace) quick() bool { return !p.blocking && p.run.Load() >= firstRun+p.need.Load() }

func (p *pace) add(took time.Duration) {
	switch run := p.run.Load(); {
	case took >= slowCall:
		p.slow()
	case took > quickCall && !p.quick():
		p.run.Store(0)
	case run < longRun:
		p.run.Add(1)
	}
}

// slow notes a slow call. A second note of the same call has no effect.
func (p *pace) slow() {
	switch run := p.run.Swap(0); {
	case run >= longRun:
		p.need.Store(0)
	case run > 0:
		p.need.Store(min(2*p.need.Load()+firstRun, longRun-firstRun))
	}
}
