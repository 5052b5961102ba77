package process

import "sync"

// State is the argument of MasterConfig.Notify.
type State int

// The states of a server, as a service manager sees them.
const (
	Serving   State = iota + 1 // for the first time, or after a reload, even a failed one
	Reloading                  // a reload was requested
	Stopping                   // it is to end; nothing follows
)

// announcer calls MasterConfig.Notify.
type announcer struct {
	notify func(State) // may be nil

	// mu is held while the roster changes and the change is announced, so that states are announced
	// in order. It is taken before roster.mu.
	mu       sync.Mutex
	served   bool // Serving was announced
	final    bool // Stopping was announced
	promised bool // Reloading was announced, and Serving not since
}

// say announces a state. The caller holds mu.
func (a *announcer) say(s State) {
	if a.final {
		return
	}
	a.final, a.promised, a.served = s == Stopping, s == Reloading, true
	if a.notify != nil {
		a.notify(s)
	}
}

// requested announces a request to reload, and its end where err refuses it. Whoever requested it
// by a signal waits for Serving: at once, or at the end of the reload that is already running. The
// caller holds mu.
func (a *announcer) requested(err error) {
	if !a.served {
		return
	}
	a.say(Reloading)
	if err != nil && err != errReloading {
		a.say(Serving)
	}
}
