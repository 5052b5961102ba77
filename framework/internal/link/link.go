// Package link connects a worker to the other nodes. It has the worker's place on the bus, which
// moves from worker to worker at a reload, and the worker's phase.
//
//	l := link.New(bus.Config{…}, reload)
//	err := l.Join(ctx)     // a node that starts
//	…
//	err = l.Send(message)  // never waits
//	…
//	state, err := l.Suspend(ctx) // a reload: then Resume, or HandedOver
//
// The next worker's Link is made with reload true. Its messages wait for Adopt, which continues as
// the same sender from the same positions.
//
//	Starting ── Join ───▶ Serving ── HandOver ──▶ HandingOver ── HandedOver ──▶ HandedOver
//	TakingOver ─ Adopt ──────▲ ◀────── Resume ────────┘                             │
//	                         └──────── Adopt: the next worker returned them ◀───────┘
//
// Package framework makes one Link for each worker. Others reach it by interfaces of their own.
package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
)

const (
	maxWaiting  = 10_000                // messages of a worker without a place
	flushTime   = 20 * time.Millisecond // for the previous worker's last messages to reach Redis first
	settlePause = time.Second           // in which no Settle waits, after one that timed out
)

// ErrNoHistory is returned by History while this worker has no place on the bus.
var ErrNoHistory = errors.New("the node is not in touch with the others yet")

// Link is a worker's connection to the other nodes. Methods are safe for concurrent use, except
// that only one Join or takeOver may run at a time. The bus is started, and given the waiting
// messages, under the lock; neither of the two waits.
type Link struct {
	cfg   bus.Config
	phase atomic.Int32
	bus   atomic.Pointer[bus.Bus] // nil until this worker has a place

	unsettled atomic.Int64 // when Settle has timed out, in UNIX ns

	mu      sync.Mutex
	waiting []*bus.Message // until there is a bus
}

// New makes a Link that is Starting. With reload it is TakingOver: another worker of this node
// still has the place. cfg.State is not used.
func New(cfg bus.Config, reload bool) *Link {
	l := &Link{cfg: cfg}
	if reload {
		l.phase.Store(int32(TakingOver))
	}
	return l
}

// Phase returns the worker's phase.
func (l *Link) Phase() Phase { return Phase(l.phase.Load()) }

// Joined reports whether this worker has, or had, a place on the bus.
func (l *Link) Joined() bool { return l.bus.Load() != nil }

// Join connects a node that starts. It receives what is sent from now on.
func (l *Link) Join(ctx context.Context) error {
	b, err := l.start(ctx, nil)
	if err == nil {
		l.run(ctx, b)
	}
	return err
}

// start finds the place: the streams' ends, or the previous worker's positions. Nothing is read or
// written yet.
func (l *Link) start(ctx context.Context, state []byte) (*bus.Bus, error) {
	cfg := l.cfg
	cfg.State = state
	return bus.Start(ctx, cfg)
}

// run begins to read and write, and sends the messages that have waited.
func (l *Link) run(ctx context.Context, b *bus.Bus) {
	if before := l.bus.Load(); before != nil { // the next worker has returned the connections
		if err := before.Stop(ctx); err != nil {
			l.cfg.Log.Warn("leave the bus", zap.Error(err))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b.Run()
	for _, m := range l.waiting {
		if err := b.Send(m); err != nil {
			l.cfg.Log.Error("a message from before the reload", zap.Error(err))
		}
	}
	l.waiting = nil
	l.bus.Store(b)
	l.phase.Store(int32(Serving))
}

// Leave sends what waits and leaves the bus. A worker that has handed over stays HandedOver.
func (l *Link) Leave(ctx context.Context) error {
	defer func() {
		if l.Phase() != HandedOver {
			l.phase.Store(int32(Stopped))
		}
	}()
	if b := l.bus.Load(); b != nil {
		return b.Stop(ctx)
	}
	return nil
}

// Send puts a message on the bus. It never waits. bus.ErrFull means that too much waits already.
func (l *Link) Send(m *bus.Message) error {
	b, err := l.busOrQueue(m)
	if b == nil {
		return err
	}
	return b.Send(m)
}

// Put is Send that reports the outcome: see bus.Put. Before this worker has a place it does not
// wait.
func (l *Link) Put(m *bus.Message, wait bool) error {
	b, err := l.busOrQueue(m)
	if b == nil {
		return err
	}
	return b.Put(m, wait)
}

// busOrQueue returns the bus. Before there is one it queues the message, or returns why not.
func (l *Link) busOrQueue(m *bus.Message) (*bus.Bus, error) {
	if b := l.bus.Load(); b != nil {
		return b, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.bus.Load(); b != nil {
		return b, nil
	}
	if len(l.waiting) >= maxWaiting {
		return nil, bus.ErrFull
	}
	l.waiting = append(l.waiting, m)
	return nil, nil
}

// Keeps reports whether pushes to the room wait to be kept. Later ones must not overtake them.
func (l *Link) Keeps(room string) bool {
	if b := l.bus.Load(); b != nil {
		return b.Keeps(room)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.waiting, func(m *bus.Message) bool { return m.Kind == envelope.ToRoom && m.Key == room })
}

// Cursor returns this sender's token and the position after everything that it has sent so far.
func (l *Link) Cursor() (token string, c bus.Cursor) {
	if b := l.bus.Load(); b != nil {
		return b.Token(), b.Cursor()
	}
	return "", nil
}

// After calls f once this node has received everything that the sender had sent before its cursor,
// or after limit. Where nothing is on its way it calls f at once. f must not wait.
func (l *Link) After(token string, c bus.Cursor, limit time.Duration, f func()) {
	if b := l.bus.Load(); b != nil {
		b.After(token, c, limit, f)
		return
	}
	f()
}

// AfterOwn calls f after everything that this worker has sent, including messages that the previous
// worker has left to it.
func (l *Link) AfterOwn(limit time.Duration, f func()) {
	token, c := l.Cursor()
	l.After(token, c, limit, f)
}

// Settle waits until Redis has everything that was sent here before, at most for limit, or until
// ctx ends. For settlePause after a time-out it does not wait.
func (l *Link) Settle(ctx context.Context, limit time.Duration) {
	b := l.bus.Load()
	if b == nil || time.Since(time.Unix(0, l.unsettled.Load())) < settlePause {
		return
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := b.Flush(ctx); err != nil && time.Since(begun) >= limit {
		l.unsettled.Store(time.Now().UnixNano())
	}
}

// Interest is what this worker's bus needs of rooms.
func (l *Link) Interest() *bus.Interest { return l.cfg.Interest }

// Want is called before a connection joins a room, and done afterwards: everything that is sent to
// the room after Want has returned is received here. It waits for Redis where this is the first
// room of its sub-stream, at most for the time of one call: see bus.Want.
func (l *Link) Want(ctx context.Context, room string) (done func()) {
	if b := l.bus.Load(); b != nil {
		return b.Want(ctx, room)
	}
	return func() {}
}

// Wanted reports whether Want would return at once.
func (l *Link) Wanted(room string) bool {
	b := l.bus.Load()
	return b == nil || b.Wanted(room)
}

// Stats returns the counts of the bus; zero without a place.
func (l *Link) Stats() bus.Stats {
	if b := l.bus.Load(); b != nil {
		return b.Stats()
	}
	return bus.Stats{}
}

// History reads a page of a room's kept messages: see bus.History. It returns ErrNoHistory before
// this worker has a place.
func (l *Link) History(ctx context.Context, room string, after int64, limit int) (bus.Page, error) {
	b := l.bus.Load()
	if b == nil {
		return bus.Page{}, ErrNoHistory
	}
	return b.History(ctx, room, after, limit)
}

// Suspend stops reading and writing, and returns the state with which the next worker continues;
// nil without a place. Resume or HandedOver must follow.
func (l *Link) Suspend(ctx context.Context) ([]byte, error) {
	b := l.bus.Load()
	if b == nil {
		return nil, nil
	}
	state, err := b.Suspend(ctx)
	if err != nil {
		return nil, fmt.Errorf("leave the bus: %w", err)
	}
	return state, nil
}

// HandOver begins the time in which either worker may be the one that serves: what is published
// here goes to both. It reports whether that had not begun yet.
func (l *Link) HandOver() bool { return l.phase.CompareAndSwap(int32(Serving), int32(HandingOver)) }

// KeepServing undoes HandOver after a failure.
func (l *Link) KeepServing() { l.phase.CompareAndSwap(int32(HandingOver), int32(Serving)) }

// Resume undoes Suspend: the connections did not move.
func (l *Link) Resume() {
	if b := l.bus.Load(); b != nil {
		b.Resume()
	}
}

// HandedOver notes that the connections belong to the next worker.
func (l *Link) HandedOver() { l.phase.Store(int32(HandedOver)) }

// Detach makes this worker another sender, for its last messages. It reads no more.
func (l *Link) Detach() {
	if b := l.bus.Load(); b != nil {
		b.Detach()
	}
}

// Adopt prepares to continue from the state that Suspend returned in the previous worker. takeOver
// does it; until then others see nothing of it.
func (l *Link) Adopt(ctx context.Context, state []byte) (takeOver func(limit time.Duration), err error) {
	b, err := l.start(ctx, state)
	if err != nil {
		return nil, err
	}
	return func(limit time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		l.run(ctx, b)
		// Later messages of the previous worker come after its earlier ones, unless Redis is slow.
		ctx, cancel = context.WithTimeout(ctx, flushTime)
		defer cancel()
		if err := b.Flush(ctx); err != nil {
			l.cfg.Log.Debug("messages of the previous worker wait for Redis", zap.Error(err))
		}
	}, nil
}
