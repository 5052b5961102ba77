package framework

import (
	"context"
	"encoding/json"
	"fmt"

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

// appState is what travels beside the connections.
type appState struct {
	Bus json.RawMessage `json:",omitempty"`
}

// exportApp stops reading from the bus, and gives what the next worker goes on with. resumeApp or handedApp must follow.
func (a *App) exportApp(ctx context.Context) ([]byte, error) {
	state, err := a.link.Suspend(ctx)
	if err != nil {
		return nil, err
	}
	a.history.GiveUp() // what it gives goes the way of the connections
	return json.Marshal(appState{Bus: state})
}

// adoptApp prepares to go on where the previous worker stopped. That is so when goOn is called; before, nothing can be seen of it.
func (a *App) adoptApp(raw []byte) (goOn func(), err error) {
	var state appState
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &state); err != nil {
			return nil, fmt.Errorf("state of the previous worker: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.askTime)
	defer cancel()
	takeOver, err := a.link.Adopt(ctx, state.Bus)
	if err != nil {
		return nil, err
	}
	return func() { takeOver(a.askTime) }, nil
}
