package framework

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"
)

// Inline declares that actions of a controller take microseconds and never wait. They run in the
// event loop from their first call, without a goroutine of their own. Without names it applies to all
// actions of the controller, and to its OnMessage. New refuses a name that is not an action's.
//
//	framework.Inline(framework.Mount("poll", &Poll{}), "vote", "count")
//
// An action that takes 1 ms or more nevertheless delays no other connection for longer than 2 ms, and
// runs in goroutines until it was quick again for a while. Actions that are not declared are
// measured, and run inline once they have been quick.
func Inline(c Controller, actions ...string) Controller { return c.declare(paceInline, actions) }

// Blocking declares that actions of a controller wait, for a database for example. They always run in
// a goroutine of their connection. Names are treated as those of Inline.
func Blocking(c Controller, actions ...string) Controller { return c.declare(paceBlocking, actions) }

// Values of declared paces, as `console -s routes` shows them.
const (
	paceInline   = "inline"
	paceBlocking = "blocking"
)

// onMessage is the name of OnMessage in Controller.paces. No action has it.
const onMessage = ""

func (c Controller) declare(pace string, actions []string) Controller {
	if c.err != nil {
		return c
	}
	c.paces = maps.Clone(c.paces)
	if c.paces == nil {
		c.paces = map[string]string{}
	}
	if len(actions) == 0 {
		for name := range c.actions {
			c.paces[name] = pace
		}
		c.paces[onMessage] = pace
	}
	for _, name := range actions {
		route := strings.ToLower(name)
		if c.actions[route] == nil {
			c.err = fmt.Errorf("mount %q: %s has no action %q that could be %s", c.name, c.kind, name, pace)
			return c
		}
		c.paces[route] = pace
	}
	return c
}

// pace learns whether an action is quick enough to run in an event loop. It is safe for concurrent
// use.
//
// An action starts as a slow one. It is quick after some quick calls in a row, and slow again at the
// first slow call. If slow calls are frequent each one doubles that number, so an action that is slow
// by chance leaves the loops. A slow call that is rare is forgotten, because the kernel may have run
// another process.
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
	run := p.run.Load()
	switch {
	case took >= slowCall && run >= longRun:
		p.run.Store(0)
		p.need.Store(0)
	case took >= slowCall:
		p.run.Store(0)
		p.need.Store(min(2*p.need.Load()+firstRun, longRun-firstRun))
	case took > quickCall && !p.quick():
		p.run.Store(0)
	case run < longRun:
		p.run.Add(1)
	}
}
