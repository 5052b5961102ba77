package framework

import (
	"context"

	"wsframe/framework/bus"
)

// linkConfig is what this worker's link needs.
func (a *App) linkConfig() bus.Config {
	return bus.Config{
		Client: a.stores.Bus, Prefix: a.deps.Prefix, Alone: a.alone, Timeout: a.askTime, Receive: a.received, Lost: func(concerns func(string) bool) { a.history.Lost(concerns) }, Log: a.log,
	}
}

// Settled tells that no connections come from a previous worker any more.
func (a *App) Settled(ctx context.Context) error {
	a.startLate()
	a.node.Settle()
	if a.link.Joined() {
		return nil
	}
	return a.link.Join(ctx)
}
