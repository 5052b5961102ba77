package framework

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
)

// outgoing is what a new worker says before the previous one has handed over its place on the bus. Its bound is that of a worker
// which has no connections yet: more is refused.
type outgoing struct {
	mu   sync.Mutex
	list []*bus.Message
}

const maxOutgoing = 10_000

// joinBus gets in touch with the other nodes, from the streams' ends on.
func (a *App) joinBus(ctx context.Context) error {
	b, err := a.startBus(ctx, nil)
	if err == nil {
		a.runBus(ctx, b)
	}
	return err
}

// startBus finds this node's place on the bus: at the streams' ends, or the previous worker's. Nothing is read or written yet.
func (a *App) startBus(ctx context.Context, state []byte) (*bus.Bus, error) {
	return bus.Start(ctx, bus.Config{
		Client: a.stores.Bus, Prefix: a.deps.Prefix, Alone: a.alone, Timeout: a.askTime, Receive: a.received, Lost: a.gaps.lost, State: state, Log: a.log,
	})
}

// runBus takes that place, and says what has waited for it.
func (a *App) runBus(ctx context.Context, b *bus.Bus) {
	a.waiting.mu.Lock()
	defer a.waiting.mu.Unlock()
	if before := a.bus.Load(); before != nil { // it has served before, like one whose connections come back
		if err := before.Stop(ctx); err != nil {
			a.log.Warn("leave the bus", zap.Error(err))
		}
	}
	b.Run()
	for _, m := range a.waiting.list {
		if err := b.Send(m); err != nil {
			a.log.Error("a message from before the reload", zap.Error(err))
		}
	}
	a.waiting.list = nil
	a.passed.Store(false)
	a.heir.Store(nil)
	a.bus.Store(b)
}

// tell puts a message on the bus. It waits for nobody.
func (a *App) tell(m *bus.Message) error {
	if b := a.bus.Load(); b != nil {
		return b.Send(m)
	}
	a.waiting.mu.Lock()
	defer a.waiting.mu.Unlock()
	if b := a.bus.Load(); b != nil {
		return b.Send(m)
	}
	if len(a.waiting.list) >= maxOutgoing {
		return ErrBusy
	}
	a.waiting.list = append(a.waiting.list, m)
	return nil
}

// keeps tells whether pushes to the room wait to be kept: others come behind them.
func (a *App) keeps(room string) bool {
	if b := a.bus.Load(); b != nil {
		return b.Keeps(room)
	}
	a.waiting.mu.Lock()
	defer a.waiting.mu.Unlock()
	return slices.ContainsFunc(a.waiting.list, func(m *bus.Message) bool { return m.Kind == envelope.ToRoom && m.Key == room })
}

// behind calls f when this node has got what that sender had sent before its mark, or has not for as long as limit: at once where
// nothing is on its way. f must not wait.
func (a *App) behind(token string, m bus.Mark, limit time.Duration, f func()) {
	b := a.bus.Load()
	if b == nil {
		f()
		return
	}
	b.After(token, m, limit, f)
}

func (a *App) leaveBus(ctx context.Context) error {
	b := a.bus.Load()
	if b == nil {
		return nil
	}
	return b.Stop(ctx)
}

// Settled tells that no connections come from a previous worker any more.
func (a *App) Settled(ctx context.Context) error {
	a.startLate()
	a.node.Settle()
	if a.bus.Load() != nil {
		return nil
	}
	return a.joinBus(ctx)
}

// appState is what travels beside the connections.
type appState struct {
	Bus json.RawMessage `json:",omitempty"`
}

// exportApp stops reading from the bus, and gives what the next worker goes on with. resumeApp or handedApp must follow.
func (a *App) exportApp(ctx context.Context) ([]byte, error) {
	var state appState
	if b := a.bus.Load(); b != nil {
		raw, err := b.Suspend(ctx)
		if err != nil {
			return nil, fmt.Errorf("leave the bus: %w", err)
		}
		state.Bus = raw
	}
	a.gaps.end() // what it gives goes the way of the connections
	return json.Marshal(state)
}

// resumeApp goes on after a move that failed.
func (a *App) resumeApp() {
	if b := a.bus.Load(); b != nil {
		b.Resume()
	}
}

// handedApp ends this worker's part after a move.
func (a *App) handedApp() {
	if b := a.bus.Load(); b != nil {
		b.Handed()
	}
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
	b, err := a.startBus(ctx, state.Bus)
	if err != nil {
		return nil, err
	}
	return func() { a.goOn(b) }, nil
}

func (a *App) goOn(b *bus.Bus) {
	ctx, cancel := context.WithTimeout(context.Background(), a.askTime)
	defer cancel()
	a.runBus(ctx, b)
	// What the previous worker has said last stands before what it will still say, if Redis is no slower than that.
	ctx, cancel = context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := b.Flush(ctx); err != nil {
		a.log.Debug("messages of the previous worker wait for Redis", zap.Error(err))
	}
}
