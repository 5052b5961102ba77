package hub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"

	"wsframe/framework/internal/room"
)

// Handler receives what the connections of a Hub say.
type Handler interface {
	// Message is one complete text or binary message, in the connection's own goroutine. data is valid until it
	// returns. A panic is recovered and logged.
	Message(c *Conn, data []byte)
	// Closed is called exactly once for each connection that was served, in the connection's own goroutine, after
	// it has left all rooms' local index. rooms are those it was in.
	Closed(c *Conn, code int, reason string, rooms []string)
}

const shardCount = 64

type shard struct {
	mu    sync.RWMutex
	conns map[int64]*Conn
}

// Hub is every connection of this process, sharded by fd, and the local index of the rooms they are in.
type Hub struct {
	handler   Handler
	cfg       Config
	upgrader  *gws.Upgrader
	deflating func() *gws.Upgrader // for connections of a process that negotiated compression
	shards    [shardCount]shard
	users     users[*Conn]
	corks     corks

	*room.Rooms // of its connections

	clock  clock
	count  atomic.Int64
	inside atomic.Int64 // connections between Accept and the end of Serve

	frozen   atomic.Bool // connections are being moved, or some have and still run an action here
	freezing freezing

	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{}

	totals totals
}

// New starts a Hub, whose connections speak to handler; its housekeeping goroutine ends with Close.
func New(handler Handler, cfg Config) *Hub {
	cfg.fill()
	h := &Hub{handler: handler, cfg: cfg, stop: make(chan struct{}), done: make(chan struct{})}
	for i := range h.shards {
		h.shards[i].conns = map[int64]*Conn{}
	}
	h.users.init()
	h.Rooms = room.New(room.Config{
		Flush: cfg.RoomFlush, OutboxBytes: cfg.OutboxBytes, OutboxMessages: cfg.OutboxMessages, PerMember: cfg.RoomsPerConn,
		Everyone: h.members, Count: h.Len,
	})
	h.freezing.parked = make(chan struct{}, 1)
	h.corks.interval = 2 * time.Millisecond
	h.clock.init(cfg.now())
	h.upgrader = newUpgrader(&cfg, cfg.Compression)
	h.deflating = sync.OnceValue(func() *gws.Upgrader {
		if cfg.Compression {
			return h.upgrader
		}
		return newUpgrader(&cfg, true)
	})
	go h.housekeep()
	return h
}

func newUpgrader(cfg *Config, deflate bool) *gws.Upgrader {
	return gws.NewUpgrader(events{}, &gws.ServerOption{
		ReadMaxPayloadSize: cfg.MessageBytes,
		CheckUtf8Enabled:   true,
		ParallelGolimit:    1, // unused, but gws allocates a channel of this size per connection
		Recovery:           func(gws.Logger) {},
		Logger:             quiet{},
		NewSession:         func() gws.SessionStorage { return noSession{} },
		PermessageDeflate: gws.PermessageDeflate{
			Enabled: deflate,
		},
	})
}

// Close ends housekeeping. It closes no connection: see Drain.
func (h *Hub) Close() {
	h.stopOnce.Do(func() { close(h.stop) })
	<-h.done
}

// Frozen tells whether connections are being moved, or have moved while an action of theirs still runs here.
func (h *Hub) Frozen() bool { return h.frozen.Load() }

// Len is the number of live connections.
func (h *Hub) Len() int { return int(h.count.Load()) }

func (h *Hub) shard(fd int64) *shard { return &h.shards[uint64(fd)%shardCount] }

// Get returns the live connection of that fd, or nil.
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

// Each calls f for every live connection until f returns false. Connections that come or go meanwhile may be seen or
// not. f runs without any lock held.
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

// members are the live connections as members of the room of everybody.
func (h *Hub) members() []*room.Member {
	list := make([]*room.Member, 0, h.Len())
	h.Each(func(c *Conn) bool { list = append(list, &c.Member); return true })
	return list
}

// RoomMembers are the connections in the room, in no order.
func (h *Hub) RoomMembers(name string) []*Conn {
	members := h.MembersOf(name)
	list := make([]*Conn, len(members))
	for i, m := range members {
		list[i] = m.Outbox().(*Conn)
	}
	return list
}

// all are the live connections.
func (h *Hub) all() []*Conn {
	list := make([]*Conn, 0, h.Len())
	h.Each(func(c *Conn) bool { list = append(list, c); return true })
	return list
}

// Drain closes every connection with the code and reason, spread evenly over the given time, and waits until all
// have ended: their Closed handlers have run and what was queued is written or its deadline has passed.
// When ctx ends, the rest is cut at once.
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
		if c.SetClosingSoon() { // else it is closed after what it waits for
			CloseAfter([]*Conn{c}, code, reason)
		}
	}
	cut := false
	for h.inside.Load() > 0 {
		select {
		case <-tick.C:
			// A connection that was accepted while the others were closed is found here.
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

// housekeep looks at every connection once a second: idle ones are closed, quiet ones pinged, messages that take too
// long to arrive cut. One walk instead of timers per connection: no timer is reset per message.
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

// look is one round of housekeeping. After a gap, in which this process did not run, the readers get a round to take what came.
func (h *Hub) look(now time.Time) {
	ran := h.clock.tick(now)
	seconds := h.clock.seconds.Load()
	h.Each(func(c *Conn) bool {
		known := c.in.where.Load() != away || c.in.lookAhead()
		if ran && known {
			c.check(seconds)
		}
		return true
	})
}

// Own counts the live connections without those that have moved and whose action still runs here.
func (h *Hub) Own() (n int) {
	h.Each(func(c *Conn) bool {
		if !c.hasMoved() {
			n++
		}
		return true
	})
	return n
}

// Stats walks all connections: for people and monitoring, not for the message path.
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

// User is the uid's connections here, in the order in which they were bound.
func (h *Hub) User(uid string) []*Conn { return h.users.get(uid) }

// UserCount is the number of uids with connections here.
func (h *Hub) UserCount() (n int) {
	h.users.each(func(s *userShard[*Conn]) { n += len(s.conns) })
	return n
}

// UserNames are the uids with connections here, in no order.
func (h *Hub) UserNames() (names []string) {
	h.users.each(func(s *userShard[*Conn]) {
		for uid := range s.conns {
			names = append(names, uid)
		}
	})
	return names
}
