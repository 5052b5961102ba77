package hub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"

	"wsframe/framework/internal/room"
)

// Handler receives the messages and the ends of a Hub's connections.
type Handler interface {
	// Message handles one complete text or binary message, in the connection's own goroutine. data
	// is valid until it returns. A panic is recovered and logged.
	Message(c *Conn, data []byte)
	// Closed is called exactly once for each connection that was served, in the connection's own
	// goroutine, after it was removed from all rooms. rooms are those that it was in.
	Closed(c *Conn, code int, reason string, rooms []string)
}

const shardCount = 64

type shard struct {
	mu    sync.RWMutex
	conns map[int64]*Conn
}

// Hub holds every connection of this process, sharded by fd, and the local index of their rooms.
type Hub struct {
	handler   Handler
	cfg       Config
	upgrader  *gws.Upgrader
	deflating func() *gws.Upgrader // for imported connections that have negotiated compression
	shards    [shardCount]shard
	users     users[*Conn]
	corks     corks

	*room.Rooms // of these connections

	loops   loops
	inliner Inliner // handler, if it is one

	clock  clock
	wheel  wheel
	count  atomic.Int64
	inside atomic.Int64 // connections from Serve to the end of the close path

	frozen   atomic.Bool // connections are being moved, or a moved one still runs an action here
	freezing freezing

	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{}

	totals totals
}

// New starts a Hub whose connections call handler. Its housekeeping goroutine ends with Close.
func New(handler Handler, cfg Config) *Hub {
	cfg.fill()
	h := &Hub{handler: handler, cfg: cfg, stop: make(chan struct{}), done: make(chan struct{})}
	for i := range h.shards {
		h.shards[i].conns = map[int64]*Conn{}
	}
	h.users.init()
	h.Rooms = room.New(room.Config{
		Flush: cfg.RoomFlush, OutboxBytes: cfg.OutboxBytes, OutboxMessages: cfg.OutboxMessages, PerMember: cfg.RoomsPerConn,
		Everyone: h.members, Count: h.Len, Interest: cfg.Interest, Translate: h.cfg.Pages.in,
	})
	h.freezing.parked = make(chan struct{}, 1)
	h.corks.interval = 2 * time.Millisecond
	h.clock.init(cfg.now())
	h.wheel.init(h.clock.seconds.Load())
	h.upgrader = newUpgrader(&cfg, cfg.Compression)
	h.deflating = sync.OnceValue(func() *gws.Upgrader {
		if cfg.Compression {
			return h.upgrader
		}
		return newUpgrader(&cfg, true)
	})
	h.inliner, _ = handler.(Inliner)
	go h.housekeep()
	return h
}

func newUpgrader(cfg *Config, deflate bool) *gws.Upgrader {
	return gws.NewUpgrader(events{}, &gws.ServerOption{
		ReadMaxPayloadSize: cfg.MessageBytes,
		CheckUtf8Enabled:   true,
		ParallelGolimit:    1, // unused; gws allocates a channel of this size
		Recovery:           func(gws.Logger) {},
		Logger:             quiet{},
		NewSession:         func() gws.SessionStorage { return noSession{} },
		PermessageDeflate: gws.PermessageDeflate{
			Enabled: deflate,
		},
	})
}

// Close ends housekeeping. It closes no connection; Drain does.
func (h *Hub) Close() {
	h.stopOnce.Do(func() { close(h.stop) })
	<-h.done
	h.loops.close()
}

// Frozen reports whether connections are being moved, or have moved while an action still runs
// here.
func (h *Hub) Frozen() bool { return h.frozen.Load() }

// Len returns the number of live connections.
func (h *Hub) Len() int { return int(h.count.Load()) }

func (h *Hub) shard(fd int64) *shard { return &h.shards[uint64(fd)%shardCount] }

// Get returns the live connection with that fd, or nil.
func (h *Hub) Get(fd int64) *Conn {
	s := h.shard(fd)
	s.mu.RLock()
	c := s.conns[fd]
	s.mu.RUnlock()
	return c
}

func (h *Hub) add(c *Conn) {
	s := h.shard(c.FD)
	s.mu.Lock()
	s.conns[c.FD] = c
	s.mu.Unlock()
	h.count.Add(1)
	h.wheel.schedule(c.FD, &c.due, nextCheck(c))
}

func (h *Hub) remove(c *Conn) {
	s := h.shard(c.FD)
	s.mu.Lock()
	_, was := s.conns[c.FD]
	delete(s.conns, c.FD)
	s.mu.Unlock()
	if was {
		h.count.Add(-1)
	}
}

// Each calls f for every live connection until f returns false. Connections that come or go
// meanwhile may be visited or not. f runs without any lock held.
func (h *Hub) Each(f func(*Conn) bool) {
	var batch []*Conn
	for i := range h.shards {
		s := &h.shards[i]
		batch = batch[:0]
		s.mu.RLock()
		for _, c := range s.conns {
			batch = append(batch, c)
		}
		s.mu.RUnlock()
		for _, c := range batch {
			if !f(c) {
				return
			}
		}
	}
}

// members returns all live connections, for pushes to everybody.
func (h *Hub) members() []*room.Member {
	list := make([]*room.Member, 0, h.Len())
	h.Each(func(c *Conn) bool { list = append(list, &c.Member); return true })
	return list
}

// RoomMembers returns the connections in the room, in no order.
func (h *Hub) RoomMembers(name string) []*Conn {
	members := h.MembersOf(name)
	list := make([]*Conn, len(members))
	for i, m := range members {
		list[i] = m.Outbox().(*Conn)
	}
	return list
}

// all returns the live connections.
func (h *Hub) all() []*Conn {
	list := make([]*Conn, 0, h.Len())
	h.Each(func(c *Conn) bool { list = append(list, c); return true })
	return list
}

// Drain closes every connection with the code and reason, spread evenly over the given time. It
// waits until all have ended: their Closed handlers have run, and what was queued is written or
// timed out. When ctx ends, the remaining connections are cut at once.
func (h *Hub) Drain(ctx context.Context, code int, reason string, spread time.Duration) error {
	all := h.all()
	const step = 10 * time.Millisecond
	steps := int(spread/step) + 1
	per := (len(all) + steps - 1) / steps
	tick := time.NewTicker(step)
	defer tick.Stop()
	for i, c := range all {
		if per > 0 && i > 0 && i%per == 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		if c.SetClosingSoon() { // else another caller closes it
			CloseAfter([]*Conn{c}, code, reason)
		}
	}
	cut := false
	for h.inside.Load() > 0 {
		select {
		case <-tick.C:
			// New connections may have been accepted meanwhile.
			h.Each(func(c *Conn) bool {
				if c.SetClosingSoon() {
					CloseAfter([]*Conn{c}, code, reason)
				}
				return true
			})
		case <-ctx.Done():
			if cut {
				return ctx.Err()
			}
			cut = true
			h.Each(func(c *Conn) bool { c.abort(); return true })
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
		}
	}
	return nil
}

// housekeep visits connections when something may be due: it closes idle ones, pings quiet ones and
// ends messages that take too long. Visits replace timers, which each message would have to reset.
func (h *Hub) housekeep() {
	defer close(h.done)
	ticks := h.cfg.ticks
	if ticks == nil {
		tick := time.NewTicker(tickTime)
		defer tick.Stop()
		ticks = tick.C
	}
	for {
		select {
		case <-h.stop:
			return
		case now := <-ticks:
			h.look(now)
		}
	}
}

// look is one round of housekeeping. After a gap in which this process did not run, no limit is
// applied for a round, so that the readers can read what came.
func (h *Hub) look(now time.Time) {
	ran := h.clock.tick(now)
	seconds := h.clock.seconds.Load()
	for {
		second, fds, ok := h.wheel.take(seconds)
		if !ok {
			return
		}
		for _, fd := range fds {
			c := h.Get(fd)
			if c == nil || !h.wheel.visit(&c.due, second) {
				continue
			}
			known := c.in.reader.Load() != readerActing || c.in.lookAhead()
			if ran && known {
				c.check(seconds)
				h.wheel.schedule(c.FD, &c.due, nextCheck(c))
			} else {
				h.wheel.schedule(fd, &c.due, seconds+1)
			}
		}
	}
}

// CountUnmoved returns the number of live connections without those that have moved and still run
// an action here.
func (h *Hub) CountUnmoved() (n int) {
	h.Each(func(c *Conn) bool {
		if !c.hasMoved() {
			n++
		}
		return true
	})
	return n
}

// Stats returns totals. It visits all connections, so it is not for the message path.
func (h *Hub) Stats() Stats {
	var all traffic
	all.add(&h.totals.traffic)
	h.Each(func(c *Conn) bool {
		if !c.hasMoved() {
			all.add(&c.traffic)
		}
		return true
	})
	return Stats{
		Connections: h.Len(), Rooms: h.RoomCount(), Users: h.UserCount(),
		MessagesIn: all.msgsIn.Load(), MessagesOut: all.msgsOut.Load(), BytesIn: all.bytesIn.Load(), BytesOut: all.bytesOut.Load(),
		Slow: h.totals.slow.Load(), Idle: h.totals.idle.Load(), Dropped: h.totals.dropped.Load(),
	}
}

// User returns the uid's connections in this process, in the order in which they were bound.
func (h *Hub) User(uid string) []*Conn { return h.users.get(uid) }

// UserCount returns the number of uids with connections in this process.
func (h *Hub) UserCount() (n int) {
	h.users.each(func(s *userShard[*Conn]) { n += len(s.conns) })
	return n
}

// UserNames returns the uids with connections in this process, in no order.
func (h *Hub) UserNames() (names []string) {
	h.users.each(func(s *userShard[*Conn]) {
		for uid := range s.conns {
			names = append(names, uid)
		}
	})
	return names
}
