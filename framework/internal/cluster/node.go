package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Config of a Node. Zero means the default.
type Config struct {
	Client redis.UniversalClient
	Prefix string // before every key
	NodeID string // of this server, the same over reloads and restarts of its worker, other than that of every other server
	// Place is where this process runs, such that there is no other server of the node in the same place, and who ran there before has
	// ended. A node that starts in its last place is there at once; in another one it asks whether the last one lives. "" = not known.
	Place   string
	Reload  bool          // the previous worker of this node still lives: its connections are no leftovers
	Timeout time.Duration // of one call; 500 ms

	BlockSize int64         // numbers reserved at a time; 4,096
	Journal   int           // operations kept while Redis is away; 200,000
	Assert    time.Duration // how often Redis is compared with the live connections; 20 s
	Claim     time.Duration // how long a dead sweeper holds up the others; 15 s

	Away time.Duration // how long a user may be away before Depart looks at it; 0 = who is in rooms is not told

	// Lease is how long this node counts as living without a sign of life; 0 = it takes no lease: it watches nobody, and
	// only its own next worker cleans up after it. DefaultLease is 15 s.
	Lease   time.Duration
	Silence time.Duration // how long Redis may be silent until the node is Isolated; Lease, or DefaultLease without one
	Refresh time.Duration // how often the lease is refreshed, or without one the store is asked for a sign of life; a third of Silence
	// About is what this node says of itself beside its lease, for Signs; it is asked at each refresh, and must not wait. nil: what
	// was said before stays.
	About func() []byte

	// Sync returns when what was written before is on the disk of the store. nil: the store sees to that itself.
	Sync func(ctx context.Context) error

	// Live walks the live connections, Alive tells whether one is among them. A connection is among them before
	// Opened and no longer at Closed.
	Live  func(yield func(Entry) bool)
	Alive func(fd int64) bool // nil: Live is walked
	// Orphan is called for each connection of a dead process, in this node or another, before its keys are removed.
	// ctx ends after half a Claim. It must not panic.
	Orphan func(ctx context.Context, o Orphan)
	// Deposed is called in a goroutine of its own after this node was declared dead: it has frozen, or has not reached
	// Redis while others did. All connections of before, with numbers below floor, are to be closed (1012), and what is noted of
	// them is ignored. Owner tells of which the listeners are to be told.
	Deposed func(floor int64)

	Log *zap.Logger
	Now func() time.Time
}

func (c *Config) fill() error {
	if c.Client == nil || c.NodeID == "" {
		return errors.New("cluster: Client and NodeID are needed")
	}
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{{&c.Timeout, 500 * time.Millisecond}, {&c.Assert, 20 * time.Second}, {&c.Claim, claimTime}, {&c.Silence, cmp.Or(c.Lease, DefaultLease)}} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
	if c.Refresh == 0 {
		c.Refresh = c.Silence / 3
	}
	if c.Lease > 0 && (c.Refresh < 4*time.Millisecond || c.Refresh >= c.Lease) {
		return fmt.Errorf("cluster: a lease of %s cannot be refreshed every %s", c.Lease, c.Refresh)
	}
	if c.BlockSize == 0 {
		c.BlockSize = 4096
	}
	if c.Journal == 0 {
		c.Journal = 200_000
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Entry is what Redis knows of one connection.
type Entry struct {
	FD        int64
	Auth      []byte    // JSON of the identity
	UID       string    // the user's id, for wechatUser only
	Keys      []string  // sets from which the fd is removed on close
	Listeners []string  // controllers that are told of the close
	Present   []Present // of Live and Opened: the user, in rooms whose members know that he is there
}

// Orphan is a connection whose process died.
type Orphan = Entry

// Node is this server's place in Redis.
type Node struct {
	cfg   Config
	keys  keys
	slots bool   // Client is that of a Redis Cluster
	token string // of this process, in leases and claims
	first int64  // number given to this process
	place atomic.Pointer[member]

	// Lock order: leaseMu, fdMu, the journal's mu. Redis is asked under leaseMu only.
	leaseMu   sync.Mutex
	refreshed atomic.Pointer[time.Time] // when the last successful refresh of the lease began
	companyAt atomic.Pointer[time.Time] // when another node was last seen to have a lease
	nameTaken atomic.Bool               // another server has the node's id
	forgotten atomic.Bool               // Redis was emptied: everything is to be written again
	lost      atomic.Bool               // declared dead, not yet another incarnation
	floor     atomic.Int64              // numbers below are of an incarnation that was declared dead
	kick      chan struct{}             // refresh now
	strays    chan struct{}             // look for strays
	away      atomic.Bool               // Redis has not answered the last time

	answerMu sync.Mutex    // a leaf
	answered chan struct{} // closed and replaced when Redis answers

	peersMu sync.Mutex      // a leaf
	peers   map[member]bool // that may live, as Redis said last
	peersAt time.Time       // when it did
	emptied time.Time       // when Redis was last found to have been emptied
	intact  time.Time       // when it was last asked and had not been

	fdMu         sync.Mutex
	fds, spare   block
	seen         int64 // how far the counter was
	fetching     bool
	stopped      bool // no new goroutine
	complained   time.Time
	complainedOf time.Time

	j journal

	// The writer's.
	batch    int              // commands of the next pipeline
	shaken   bool             // there was an outage since the last heal
	round    uint64           // of heal
	suspects map[int64]bool   // ghosts at the last heal
	doubts   map[int64]*Entry // what failed pipelines may still write
	doubtAt  time.Time        // when the last of them failed
	departed []departed       // the oldest first
	filledAt time.Time        // when what Redis lacks was tried last
	saidFull time.Time

	full atomic.Bool // Redis has no memory: additions wait in the journal's lacking

	settled  atomic.Bool
	restMu   sync.Mutex
	adopted  map[int64]bool  // of the previous worker's, during a reload; nil = no reload, or it is over
	rest     map[string]bool // leftovers in this incarnation's list that are being cleaned up
	leftover []member        // earlier incarnations
	unheard  map[int64]bool  // live connections of earlier incarnations that Redis never heard of

	sweeping   sync.Mutex      // one sweep at a time
	sweepBatch int             // connections that share its round trips; under sweeping
	told       map[string]bool // claims whose Orphan has run but is not marked so; under sweeping
	swept      atomic.Int64

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

func (n *Node) self() member { return *n.place.Load() }

// Start reserves numbers, takes the lease, and looks for what a crashed worker of this node left behind. It fails when
// Redis does not answer within ctx. Run must follow, and Stop in any case.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, keys: keys{cfg.Prefix}, token: rand.Text(), kick: make(chan struct{}, 1), strays: make(chan struct{}, 1),
		answered: make(chan struct{}), unheard: map[int64]bool{},
		told: map[string]bool{}, doubts: map[int64]*Entry{}, batch: pipeline, sweepBatch: sweepAtOnce,
	}
	_, n.slots = cfg.Client.(*redis.ClusterClient)
	if cfg.Reload {
		n.adopted = map[int64]bool{}
	}
	n.j.init(cfg.Journal, cfg.Now)
	n.ctx, n.stop = context.WithCancel(context.Background())
	if err := n.start(ctx); err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	b, err := n.reserve(ctx)
	if err != nil {
		return err
	}
	n.fds, n.first = b, b.next
	m := member{node: n.cfg.NodeID}
	if !n.leased() {
		n.place.Store(&m)
		now := n.cfg.Now() // it has answered
		n.refreshed.Store(&now)
		return n.inherit(ctx, m)
	}
	if n.cfg.Reload {
		if m, err = n.predecessor(ctx); err != nil {
			return err
		}
	}
	if m.inc == "" {
		m.inc = newIncarnation()
	}
	n.place.Store(&m)
	if err := n.claimName(ctx, m); err != nil {
		return err
	}
	if err := n.take(ctx, m, true); err != nil {
		return err
	}
	if n.cfg.Reload {
		return nil
	}
	n.settled.Store(true)
	list, err := n.listMembers(ctx)
	if err != nil {
		return err
	}
	for _, old := range list {
		if old.node != m.node || old == m {
			continue
		}
		n.leftover = append(n.leftover, old)
		err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			p.Eval(ctx, setFlag, []string{n.keys.dead(old)}, "1", deadTime.Milliseconds())
			p.Del(ctx, n.keys.lease(old))
		})
		if err != nil {
			return fmt.Errorf("declare the previous worker dead: %w", err)
		}
	}
	return nil
}

// inherit finds leftovers in the list of a node without incarnations.
func (n *Node) inherit(ctx context.Context, m member) error {
	if n.cfg.Reload {
		return nil
	}
	n.settled.Store(true)
	fds, err := n.members(ctx, n.keys.fds(m))
	if err != nil {
		return err
	}
	n.rest = make(map[string]bool, len(fds))
	for _, fd := range fds {
		n.rest[fd] = true
	}
	return nil
}

// predecessor finds the incarnation that the previous worker of a reload lives in. Where Redis was emptied that worker
// enters it again with its next refresh; where it does not, there is none.
func (n *Node) predecessor(ctx context.Context) (member, error) {
	tick := time.NewTicker(max(n.cfg.Refresh/10, time.Millisecond))
	defer tick.Stop()
	for end := n.cfg.Now().Add(2 * n.cfg.Refresh); ; {
		list, err := n.listMembers(ctx)
		if err != nil {
			return member{}, err
		}
		for _, m := range list {
			if m.node != n.cfg.NodeID {
				continue
			}
			alive, err := call(n, ctx, func(ctx context.Context) (int64, error) {
				return n.cfg.Client.Exists(ctx, n.keys.lease(m)).Result()
			})
			if err != nil {
				return member{}, fmt.Errorf("look for the previous worker's lease: %w", err)
			}
			if alive == 1 {
				return m, nil
			}
		}
		if n.cfg.Now().After(end) {
			return member{node: n.cfg.NodeID}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return member{}, fmt.Errorf("look for the previous worker: %w", ctx.Err())
		}
	}
}

// Run starts the background work: writing the journal, asserting what lives, sweeping leftovers, and with a lease
// keeping it and watching the other nodes.
func (n *Node) Run() {
	n.work.Go(n.drain)
	n.work.Go(n.keepLease)
	if n.leased() {
		n.work.Go(n.watch)
		if n.slots {
			n.work.Go(n.keepStrays)
			n.seekStrays()
		}
	}
	rest := n.rest
	n.work.Go(func() {
		n.sweepRest(n.self(), rest)
		for _, m := range n.leftover {
			n.sweepUntilDone(m, nil)
		}
		n.leftover = nil
	})
}

// Stop writes what is left of the journal, takes this node's keys out of Redis unless another worker of it goes on, and
// ends the background work.
func (n *Node) Stop(ctx context.Context) error {
	err := n.Flush(ctx)
	n.fdMu.Lock()
	n.stopped = true
	n.stop()
	n.fdMu.Unlock()
	n.work.Wait()
	if err == nil && len(n.doubts) > 0 {
		err = n.settleDoubts(ctx)
	}
	if err == nil && n.leased() {
		err = n.leave(ctx)
	}
	return err
}

func (n *Node) leave(ctx context.Context) error {
	m := n.self()
	empty, err := call(n, ctx, func(ctx context.Context) (int64, error) {
		return n.cfg.Client.Eval(ctx, endLease, []string{n.keys.lease(m), n.keys.mark(m), n.keys.fds(m), n.keys.about(m), n.keys.holder(m)}, n.token, m.inc).Int64()
	})
	if err == nil && empty == 1 {
		err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { p.SRem(ctx, n.keys.nodes(), m.String()) })
	}
	if err != nil {
		return fmt.Errorf("give the lease back: %w", err)
	}
	return nil
}

// Stats is what a Node counts.
type Stats struct {
	Pending int           // operations that Redis does not have yet
	Lag     time.Duration // about the age of the oldest of them
	Resyncs int           // how often the journal was dropped and Redis compared
	Swept   int64         // dead connections that were cleaned up here
	FDs     int64         // numbers left without asking Redis
	Away    bool          // Redis has not answered the last time it was asked
	Lapsed  bool          // the lease may have run out
}

// Stats asks nobody.
func (n *Node) Stats() Stats {
	s := Stats{Swept: n.swept.Load(), Away: n.away.Load(), Lapsed: n.leased() && !n.leaseHolds()}
	n.fdMu.Lock()
	s.FDs = n.fds.end - n.fds.next + n.spare.end - n.spare.next
	n.fdMu.Unlock()
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	s.Pending, s.Resyncs = n.j.len(), n.j.resyncs
	switch {
	case n.j.at < len(n.j.taken):
		s.Lag = n.cfg.Now().Sub(n.j.begun)
	case len(n.j.ops) > 0:
		s.Lag = n.cfg.Now().Sub(n.j.since)
	}
	return s
}

// Pending is how many operations Redis does not know yet, and how often the journal was dropped and compared.
func (n *Node) Pending() (ops, resyncs int) {
	s := n.Stats()
	return s.Pending, s.Resyncs
}
