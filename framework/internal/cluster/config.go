package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// DefaultLease is how long a node may be silent before others may doubt it.
const DefaultLease = 15 * time.Second

// claimTime is how long a claim lasts that its owner does not extend. Orphan has half of it.
const claimTime = 15 * time.Second

// Config of a Node. Zero means the default.
type Config struct {
	Client redis.UniversalClient
	Prefix string // before every key
	NodeID string // of this server, the same over reloads and restarts of its worker, other than that of every other server
	// Place is where this process runs, such that there is no other server of the node in the same
	// place, and who ran there before has ended. A node that starts in its last place is there at
	// once; in another one it asks whether the last one lives. "" = not known.
	Place   string
	Reload  bool          // the previous worker of this node still lives: its connections are no leftovers
	Timeout time.Duration // of one call; 500 ms

	BlockSize int64         // numbers reserved at a time; 4,096
	Journal   int           // operations kept while Redis is away; 200,000
	Assert    time.Duration // how often Redis is compared with the live connections; 20 s
	Claim     time.Duration // how long a dead sweeper holds up the others; 15 s

	Away time.Duration // how long a user may be away before Depart looks at it; 0 = who is in rooms is not told

	// Lease is how long this node counts as living without a sign of life; 0 = it takes no lease:
	// it watches nobody, and only its own next worker cleans up after it. DefaultLease is 15 s.
	Lease   time.Duration
	Silence time.Duration // how long Redis may be silent until the node is Isolated; Lease, or DefaultLease without one
	Refresh time.Duration // how often the lease is refreshed, or without one the store is asked for a sign of life; a third of Silence
	// About is what this node says of itself beside its lease, for Signs; it is asked at each
	// refresh, and must not wait. nil: what was said before stays.
	About func() []byte

	// Sync returns when what was written before is on the disk of the store. nil: the store sees to
	// that itself.
	Sync func(ctx context.Context) error

	// Live walks the live connections, Alive tells whether one is among them. A connection is among
	// them before Opened and no longer at Closed.
	Live  func(yield func(Entry) bool)
	Alive func(fd int64) bool // nil: Live is walked
	// Orphan is called for each connection of a dead process, in this node or another, before its
	// keys are removed. ctx ends after half a Claim. It must not panic.
	Orphan func(ctx context.Context, o Orphan)
	// Deposed is called in a goroutine of its own after this node was declared dead: it has frozen,
	// or has not reached Redis while others did. All connections of before, with numbers below
	// floor, are to be closed (1012), and what is noted of them is ignored. Owner tells of which
	// the listeners are to be told.
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
