// Package link is a worker's way to the other nodes: its place on the bus, which passes from worker to worker at a reload, and
// the phase in which this worker is.
//
//	l := link.New(bus.Config{…}, reload)
//	err := l.Join(ctx)     // a node that starts
//	…
//	err = l.Send(message)  // never waits
//	…
//	state, err := l.Suspend(ctx) // a reload: then Resume, or HandedOver
//
// The next worker is made with reload true. What it sends waits for Adopt, which goes on as the same sender from the same positions.
//
//	Starting ── Join ───▶ Serving ── HandOver ──▶ HandingOver ── HandedOver ──▶ HandedOver
//	TakingOver ─ Adopt ──────▲ ◀────── Resume ────────┘                             │
//	                         └───────── Adopt: the next worker gave them back ◀─────┘
//
// A Link is safe for concurrent use, except that only one Join or takeover may run at a time. The
// bus is started, and sent what waited for it, under the Link's lock; neither of them waits.
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
	maxWaiting  = 10_000                // messages of a worker that has no place yet: it has no connections either
	flushTime   = 20 * time.Millisecond // for the previous worker's last messages to reach Redis before this one's
	settlePause = time.Second           // after a Settle in vain nobody waits
)

// ErrNoHistory is returned while this worker has no place on the bus.
var ErrNoHistory = errors.New("the node is not in touch with the others yet")

// Link is made by New.
type Link struct {
	cfg   bus.Config
	phase atomic.Int32
	bus   atomic.Pointer[bus.Bus] // nil until this worker has a place

	unsettled atomic.Int64 // when Settle has waited in vain, in UNIX ns

	mu      sync.Mutex
	waiting []*bus.Message // until there is a bus
}

// New makes a Link that is Starting, or TakingOver where another worker of this node has its place still. cfg.State is not used.
func New(cfg bus.Config, reload bool) *Link {
	l := &Link{cfg: cfg}
	if reload {
		l.phase.Store(int32(TakingOver))
	}
	return l
}

// Phase is where this worker is in its life.
func (l *Link) Phase() Phase { return Phase(l.phase.Load()) }

// Joined tells whether this worker has, or had, a place on the bus.
func (l *Link) Joined() bool { return l.bus.Load() != nil }

// Join gets in touch with the other nodes, from what is said from now on.
func (l *Link) Join(ctx context.Context) error {
	b, err := l.start(ctx, nil)
	if err == nil {
		l.run(ctx, b)
	}
	return err
}

// start finds the place: at the streams' ends, or the previous worker's. Nothing is read or written yet.
func (l *Link) start(ctx context.Context, state []byte) (*bus.Bus, error) {
	cfg := l.cfg
	cfg.State = state
	return bus.Start(ctx, cfg)
}

// run takes the place, and says what has waited for it.
func (l *Link) run(ctx context.Context, b *bus.Bus) {
	if before := l.bus.Load(); before != nil { // the next worker has given the connections back
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

// Leave says what is still to be said, and leaves the bus. A worker that has handed over stays HandedOver.
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

// Send puts a message on the bus. It waits for nobody. bus.ErrFull when too much waits.
func (l *Link) Send(m *bus.Message) error {
	b, err := l.busOrQueue(m)
	if b == nil {
		return err
	}
	return b.Send(m)
}

// Put is Send that tells more of what becomes of the message: see bus.Put. Before this worker has a place it does not wait.
func (l *Link) Put(m *bus.Message, wait bool) error {
	b, err := l.busOrQueue(m)
	if b == nil {
		return err
	}
	return b.Put(m, wait)
}

// busOrQueue gives the bus; before there is one it keeps the message, or tells why not.
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

// Keeps tells whether pushes to the room wait to be kept: others come after them.
func (l *Link) Keeps(room string) bool {
	if b := l.bus.Load(); b != nil {
		return b.Keeps(room)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.waiting, func(m *bus.Message) bool { return m.Kind == envelope.ToRoom && m.Key == room })
}

// Cursor is what this worker has sent so far, for After here or on another node.
func (l *Link) Cursor() (token string, m bus.Cursor) {
	if b := l.bus.Load(); b != nil {
		return b.Token(), b.Cursor()
	}
	return "", nil
}

// After calls f when this node has got what that sender had sent before its mark, or has not for as long as limit: at once where
// nothing is on its way. f must not wait.
func (l *Link) After(token string, m bus.Cursor, limit time.Duration, f func()) {
	if b := l.bus.Load(); b != nil {
		b.After(token, m, limit, f)
		return
	}
	f()
}

// AfterOwn calls f after what the previous worker has left to this one to send, and what this one has sent.
func (l *Link) AfterOwn(limit time.Duration, f func()) {
	token, m := l.Cursor()
	l.After(token, m, limit, f)
}

// Settle waits until Redis has what was sent here before: as long as limit, or ctx. Where that was in vain nobody waits for a second.
func (l *Link) Settle(ctx context.Context, limit time.Duration) {
	token, m := l.Cursor()
	if m == nil || time.Since(time.Unix(0, l.unsettled.Load())) < settlePause {
		return
	}
	begun, done := time.Now(), make(chan struct{})
	l.After(token, m, limit, func() { close(done) })
	select {
	case <-done:
	case <-ctx.Done():
	}
	if now := time.Now(); now.Sub(begun) >= limit {
		l.unsettled.Store(now.UnixNano())
	}
}

// History reads a page of a room's kept messages: see bus.History. ErrNoHistory before this worker has a place.
func (l *Link) History(ctx context.Context, room string, after int64, limit int) (bus.Page, error) {
	b := l.bus.Load()
	if b == nil {
		return bus.Page{}, ErrNoHistory
	}
	return b.History(ctx, room, after, limit)
}

// Suspend stops reading and writing, and gives what the next worker goes on with; nil without a place. Resume or HandedOver follows.
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

// HandOver begins the moment in which both workers may be the one that serves: what is published here goes to both. It tells
// whether that had not begun yet.
func (l *Link) HandOver() bool { return l.phase.CompareAndSwap(int32(Serving), int32(HandingOver)) }

// KeepServing is what becomes of a HandOver that failed.
func (l *Link) KeepServing() { l.phase.CompareAndSwap(int32(HandingOver), int32(Serving)) }

// Resume goes on after a Suspend whose connections did not move.
func (l *Link) Resume() {
	if b := l.bus.Load(); b != nil {
		b.Resume()
	}
}

// HandedOver says that the connections are the next worker's.
func (l *Link) HandedOver() { l.phase.Store(int32(HandedOver)) }

// Detach makes this worker a sender of its own, for what it still has to say; it reads no more.
func (l *Link) Detach() {
	if b := l.bus.Load(); b != nil {
		b.Detach()
	}
}

// Adopt prepares to go on from a state that Suspend gave in the previous worker. That is so when takeOver is called; before,
// nothing can be seen of it.
func (l *Link) Adopt(ctx context.Context, state []byte) (takeOver func(limit time.Duration), err error) {
	b, err := l.start(ctx, state)
	if err != nil {
		return nil, err
	}
	return func(limit time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		l.run(ctx, b)
		// The previous worker's last messages stand before what it will still say, if Redis is no slower than that.
		ctx, cancel = context.WithTimeout(ctx, flushTime)
		defer cancel()
		if err := b.Flush(ctx); err != nil {
			l.cfg.Log.Debug("messages of the previous worker wait for Redis", zap.Error(err))
		}
	}, nil
}
