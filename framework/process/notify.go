package process

// State is what MasterConfig.Notify is told.
type State int

// The states of a server, as a service manager sees them.
const (
	Serving   State = iota + 1 // it serves: for the first time, or a reload has ended, well or not
	Reloading                  // a reload was asked for
	Stopping                   // it was told to end; nothing follows
)

// say tells a state. The caller holds sayMu.
func (m *Master) say(s State) {
	if m.final {
		return
	}
	m.final, m.promised, m.served = s == Stopping, s == Reloading, true
	if m.cfg.Notify != nil {
		m.cfg.Notify(s)
	}
}

// sayRequested tells of a request to reload that err refuses, or nothing. Whoever asked by a signal waits for an end: that of the
// reload which already runs, or at once.
func (m *Master) sayRequested(err error) {
	if !m.served {
		return
	}
	m.say(Reloading)
	if err != nil && err != errReloading {
		m.say(Serving)
	}
}
