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

// gaps are rooms whose pushes were gone before this node could read them. What the members missed is read from the history, one room
// after the other, while what comes is kept back for it.
type gaps struct {
	history *History
	life    context.Context
	open    atomic.Int32 // len(rooms), for those without the lock

	mu    sync.Mutex
	rooms map[string]*gap
	queue []*gap
	run   *gapRun // non-nil: it works on the queue
}

type gap struct {
	room string
	hold *room.Hold
	at   time.Time
}

type gapRun struct {
	ctx  context.Context
	stop context.CancelFunc
	done chan struct{}
}

// gapTime is how long a room waits for its turn, and for Redis. Its members are told then that they missed something.
const gapTime = 5 * time.Second

func (g *gaps) lost(concerns func(key string) bool) {
	for _, name := range g.history.rooms.RoomNames() {
		if concerns(name) {
			g.begin(name)
		}
	}
}

func (g *gaps) before(m *bus.Message) {
	if g.open.Load() > 0 {
		g.overrun(m.Key)
	}
	if m.Offset > 1 && g.history.rooms.Gap(m.Key, room.Position{Offset: m.Offset, Epoch: m.Epoch}) {
		g.begin(m.Key)
	}
}

func (g *gaps) begin(name string) {
	hold := g.history.rooms.Hold(name)
	if hold == nil {
		return
	}
	one := &gap{name, hold, time.Now()}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rooms[name] = one // another one of that name is of a room that was empty meanwhile
	g.open.Store(int32(len(g.rooms)))
	g.queue = append(g.queue, one)
	if g.run == nil {
		ctx, stop := context.WithCancel(g.life)
		g.run = &gapRun{ctx, stop, make(chan struct{})}
		go g.work(g.run)
	}
}

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

// close gives the members what they missed, or tells them that it cannot be had.
func (g *gaps) close(ctx context.Context, one *gap) {
	var r Recovery
	var missed []wire.Frame
	var until room.Position
	defer func() { // whatever happens: else nothing of the room would come any more
		one.hold.End(missed, until)
		g.forget(one)
	}()
	r = Recovery{Room: one.room, Epoch: one.hold.From.Epoch, Offset: one.hold.From.Offset, Reason: Unavailable}
	for ctx.Err() == nil && time.Since(one.at) < gapTime {
		first := one.hold.First()
		r, missed = g.history.recoverRoom(ctx, one.room, one.hold.From, first)
		if r.Reason != Unavailable {
			if first.Offset > 0 && first.Epoch == r.Epoch {
				r.Offset = first.Offset - 1
			}
			until = room.Position{Offset: r.Offset, Epoch: r.Epoch}
			break
		}
		select {
		case <-time.After(gapTime / 20):
		case <-ctx.Done():
		}
	}
	if !r.Recovered {
		missed = []wire.Frame{Announce(r)}
	}
}

// overrun ends a gap for which too much is kept back.
func (g *gaps) overrun(name string) {
	g.mu.Lock()
	one := g.rooms[name]
	g.mu.Unlock()
	if one == nil || one.hold.Bytes() <= g.history.cfg.OutboxBytes/4 { // what was missed takes half of it
		return
	}
	r := Recovery{Room: name, Epoch: one.hold.From.Epoch, Offset: one.hold.From.Offset, Reason: "tooMany"}
	if first := one.hold.First(); first.Offset > 0 {
		r.Offset, r.Epoch = first.Offset-1, first.Epoch
	}
	one.hold.End([]wire.Frame{Announce(r)}, room.Position{})
	g.forget(one)
}

func (g *gaps) forget(one *gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rooms[one.room] == one {
		delete(g.rooms, one.room)
		g.open.Store(int32(len(g.rooms)))
	}
}

// end gives up what is open, without waiting for Redis. Nothing is kept back then, unless more was lost.
func (g *gaps) end() {
	g.mu.Lock()
	run := g.run
	g.mu.Unlock()
	if run != nil {
		run.stop()
		<-run.done
	}
}
