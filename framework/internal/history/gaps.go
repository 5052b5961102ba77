package history

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"wsframe/framework/bus"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

// gaps are rooms whose pushes were gone before this node could read them. What the members missed
// is read from the history, one room after the other, while what is published to the room is
// held.
type gaps struct {
	history *History
	life    context.Context
	open    atomic.Int32 // len(rooms), to be read without the lock

	mu    sync.Mutex
	rooms map[string]*gap
	queue []*gap
	run   *gapRun // non-nil: it works on the queue
}

// gap is one room's.
type gap struct {
	room string
	hold *room.Hold
	at   time.Time // its begin
}

// gapRun is a goroutine that works on the queue until that is empty.
type gapRun struct {
	ctx  context.Context
	stop context.CancelFunc
	done chan struct{}
}

// gapTime is how long a room waits for its turn, and for Redis. Then its members learn that pushes
// are missing.
const gapTime = 5 * time.Second

// lost opens a gap in each of the rooms concerned.
func (g *gaps) lost(concerns func(key string) bool) {
	for _, name := range g.history.rooms.RoomNames() {
		if concerns(name) {
			g.begin(name, room.Position{})
		}
	}
}

// before opens a gap where pushes before m are missing. m is published next.
func (g *gaps) before(m *bus.Message) {
	if g.open.Load() > 0 {
		g.overrun(m.Key)
	}
	if p := (room.Position{Offset: m.Offset, Epoch: m.Epoch}); m.Offset > 1 && g.history.rooms.Gap(m.Key, p) {
		g.begin(m.Key, p)
	}
}

// begin opens a gap. next is the position of the push that is published next, zero where that is
// not known.
func (g *gaps) begin(name string, next room.Position) {
	hold := g.history.rooms.Hold(name, next)
	if hold == nil {
		return
	}
	one := &gap{name, hold, time.Now()}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rooms[name] = one // an older one is of a room of that name that was empty meanwhile
	g.open.Store(int32(len(g.rooms)))
	g.queue = append(g.queue, one)
	if g.run == nil {
		ctx, stop := context.WithCancel(g.life)
		g.run = &gapRun{ctx, stop, make(chan struct{})}
		go g.work(g.run)
	}
}

// work closes one gap after the other.
func (g *gaps) work(run *gapRun) {
	defer close(run.done)
	defer run.stop()
	for {
		g.mu.Lock()
		if len(g.queue) == 0 {
			g.queue, g.run = nil, nil
			g.mu.Unlock()
			return
		}
		one := g.queue[0]
		g.queue = g.queue[1:]
		g.mu.Unlock()
		g.close(run.ctx, one)
	}
}

// close gives the members what they missed, or tells them that it is lost.
func (g *gaps) close(ctx context.Context, one *gap) {
	r := Recovery{Reason: Unavailable}
	defer func() { // also after a panic: nothing is published to the room as long as it is held
		one.fail(r)
		g.forget(one)
	}()
	for ctx.Err() == nil && time.Since(one.at) < gapTime {
		first := one.hold.First()
		var missed []wire.Frame
		r, missed = g.history.recoverRoom(ctx, one.room, one.hold.From, first)
		if !r.Recovered && r.Reason != Unavailable {
			return
		}
		if r.Recovered {
			until := room.Position{Offset: r.Offset, Epoch: r.Epoch}
			if first.Offset > 0 && first.Epoch == r.Epoch {
				until.Offset = first.Offset - 1
			}
			if one.hold.End(missed, until) {
				return
			}
			r = Recovery{Reason: Unavailable} // more is missing by now
		}
		select {
		case <-time.After(gapTime / 20):
		case <-ctx.Done():
		}
	}
}

// fail tells the members which pushes are lost: those from where they are to what is live by now.
// Where the history could not be read, they may ask for them later. After an end of the hold it
// does nothing.
func (one *gap) fail(r Recovery) {
	one.hold.Fail(func(first room.Position) (wire.Frame, room.Position) {
		r.Room = one.room
		from := one.hold.From
		switch {
		case r.Reason == Unavailable:
			r.Offset, r.Epoch = from.Offset, from.Epoch
			return Announce(r), room.Position{}
		case first.Offset > 0 && (r.Epoch == "" || first.Epoch == r.Epoch):
			r.Offset, r.Epoch = first.Offset-1, first.Epoch
		case r.Epoch == "":
			r.Offset, r.Epoch = from.Offset, from.Epoch
		}
		return Announce(r), room.Position{Offset: r.Offset, Epoch: r.Epoch}
	})
}

// overrun ends a gap for which too much is held.
func (g *gaps) overrun(name string) {
	g.mu.Lock()
	one := g.rooms[name]
	g.mu.Unlock()
	if one == nil || one.hold.Bytes() <= g.history.cfg.OutboxBytes/4 { // the rest is for missed ones
		return
	}
	one.fail(Recovery{Reason: "tooMany"})
	g.forget(one)
}

// forget takes the gap from the list.
func (g *gaps) forget(one *gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rooms[one.room] == one {
		delete(g.rooms, one.room)
		g.open.Store(int32(len(g.rooms)))
	}
}

// end gives up what is open, without waiting for Redis. Nothing is held afterwards, unless more
// is lost meanwhile.
func (g *gaps) end() {
	g.mu.Lock()
	run := g.run
	g.mu.Unlock()
	if run != nil {
		run.stop()
		<-run.done
	}
}
