package cluster

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"
)

// Node is this server's place in Redis. It starts, runs and stops its parts; each caller gets the
// part that it needs.
type Node struct {
	Numbers     *Numbers
	Lease       *Lease
	Peers       *Peers
	Owners      *Owners
	Leftovers   *Leftovers
	Presence    *Presence
	Rooms       *Rooms
	Bookkeeping *Bookkeeping

	c       *client
	life    *life
	journal *journal
	writer  *Writer
	sweeper *Sweeper
	watch   *Watch
	strays  *Strays
}

// Start reserves numbers, acquires the lease, and finds the leftovers of earlier processes of this
// node.
//
// It waits for Redis until ctx ends. The error is a TakenError when another living server has the
// id. After success Run must follow, and Stop in any case.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	n := assemble(&cfg)
	if err := n.start(ctx, cfg.Reload); err != nil {
		n.life.stop()
		return nil, err
	}
	return n, nil
}

func assemble(cfg *Config) *Node {
	c, li := newClient(cfg), newLife()
	j := newJournal(cfg.Journal, cfg.Now)
	n := &Node{c: c, life: li, journal: j}
	n.Numbers = &Numbers{c: c, life: li, size: cfg.BlockSize, toDisk: cfg.Sync}
	n.Peers = &Peers{c: c}
	n.Rooms = &Rooms{c: c, life: li, journal: j}
	n.Presence = &Presence{c: c, life: li, journal: j, away: cfg.Away}
	n.strays = &Strays{c: c, presence: n.Presence, wait: 2*cfg.Assert + cfg.Lease, requests: make(chan struct{}, 1)}
	n.Lease = &Lease{
		c: c, peers: n.Peers, numbers: n.Numbers, silence: cfg.Silence, every: cfg.Refresh, where: cfg.Place, about: cfg.About,
		onChange: j.poke, onReachable: n.strays.seek, turn: newTurn(), kick: make(chan struct{}, 1), reachable: make(chan struct{}),
	}
	n.sweeper = &Sweeper{
		c: c, presence: n.Presence, hold: cfg.Claim, orphan: cfg.Orphan, turn: newTurn(), batch: sweepAtOnce, notified: map[string]bool{},
	}
	n.watch = &Watch{c: c, lease: n.Lease, peers: n.Peers, sweeper: n.sweeper, onCleaned: n.strays.seek}
	lc := &local{numbers: n.Numbers, walk: cfg.Live, has: cfg.Alive, state: cfg.State}
	n.Leftovers = &Leftovers{c: c, life: li, sweeper: n.sweeper, local: lc, refresh: n.Lease.soon}
	if cfg.Reload {
		n.Leftovers.adopted = map[int64]bool{}
	}
	n.Owners = &Owners{lease: n.Lease, numbers: n.Numbers, journal: j, life: li, unheard: map[int64]bool{}}
	de := &departures{c: c, peers: n.Peers, presence: n.Presence, max: cfg.Journal}
	n.Bookkeeping = &Bookkeeping{life: li, numbers: n.Numbers, leftovers: n.Leftovers, journal: j}
	n.writer = &Writer{
		c: c, life: li, numbers: n.Numbers, lease: n.Lease, owners: n.Owners, leftovers: n.Leftovers, local: lc, journal: j,
		presence: n.Presence, departures: de, every: cfg.Assert, deposed: cfg.Deposed,
		comparison: &comparison{
			c: c, journal: j, local: lc, numbers: n.Numbers, presence: n.Presence, departures: de, leftovers: n.Leftovers,
			batch: pipeline, doubts: map[int64]*Entry{},
		},
	}
	return n
}

func newClient(cfg *Config) *client {
	_, slots := cfg.Client.(*redis.ClusterClient)
	return &client{
		redis: cfg.Client, keys: keys{cfg.Prefix}, slots: slots, timeout: cfg.Timeout, id: cfg.NodeID, lease: cfg.Lease,
		token: rand.Text(), log: cfg.Log, now: cfg.Now,
	}
}

func (n *Node) start(ctx context.Context, reload bool) error {
	first, err := n.Numbers.start(ctx)
	if err != nil {
		return err
	}
	n.Leftovers.first = first
	m, err := n.Lease.start(ctx, reload)
	if err != nil || reload {
		return err
	}
	if !n.c.leased() {
		return n.Leftovers.findListed(ctx, m)
	}
	return n.Leftovers.findOlder(ctx)
}

// Run starts the background work of the parts. It does not wait.
func (n *Node) Run() {
	loops := []func(context.Context){n.writer.Run, n.Lease.Run, n.Leftovers.Run}
	if n.c.leased() {
		loops = append(loops, n.watch.Run)
		if n.c.slots {
			loops = append(loops, n.strays.Run)
			n.strays.seek()
		}
	}
	for _, loop := range loops {
		n.life.Go(func() { loop(n.life.ctx) })
	}
}

// Stop writes the rest of the journal, removes this node's keys from Redis unless another worker of
// it goes on, and ends the background work.
func (n *Node) Stop(ctx context.Context) error {
	err := n.Flush(ctx)
	n.life.stop()
	if err == nil {
		err = n.writer.comparison.finish(ctx)
	}
	if err == nil && n.c.leased() {
		err = n.Lease.release(ctx)
	}
	return err
}

// Flush waits until Redis knows everything that happened before the call.
func (n *Node) Flush(ctx context.Context) error { return n.Bookkeeping.Flush(ctx) }

// Stats are figures of a Node.
type Stats struct {
	Pending     int           // operations in the journal
	Lag         time.Duration // approximate age of the oldest of them
	Resyncs     int           // comparisons after a drop of the journal
	Swept       int64         // dead connections that this node has cleaned up
	FDs         int64         // numbers that can be given without Redis
	Unreachable bool          // Redis did not answer the last call
	Lapsed      bool          // the lease may have run out
}

// Stats makes no call.
func (n *Node) Stats() Stats {
	s := Stats{Swept: n.sweeper.swept.Load(), FDs: n.Numbers.remaining(), Unreachable: n.Lease.unreachable.Load(), Lapsed: n.c.leased() && !n.Lease.holds()}
	s.Pending, s.Resyncs, s.Lag = n.journal.pending()
	return s
}

// Pending returns the number of operations in the journal, and of comparisons after a drop of it.
func (n *Node) Pending() (ops, resyncs int) {
	ops, resyncs, _ = n.journal.pending()
	return ops, resyncs
}
