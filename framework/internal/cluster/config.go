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

// DefaultLease is the time for which a node counts as living after its last sign of life.
const DefaultLease = 15 * time.Second

// claimTime is the time after which a claim of a dead sweeper ends. Orphan has half of it.
const claimTime = 15 * time.Second

// Config of a Node. Zero means the default.
type Config struct {
	Client redis.UniversalClient
	Prefix string // prefix of every key
	// NodeID identifies this server. It stays the same over reloads and restarts, and no other
	// server has it.
	NodeID string
	// Place identifies where this process runs. At most one server of the node runs in a place at a
	// time. A node that starts in its last place starts at once; in another place it first asks
	// whether the last holder of its id lives. "" = not known.
	Place   string
	Reload  bool          // the previous worker of this node still lives and has connections
	Timeout time.Duration // of one call; 500 ms

	BlockSize int64         // numbers reserved at a time; 4,096
	Journal   int           // largest number of operations in the journal; 200,000
	Assert    time.Duration // time between two comparisons with the live connections; 20 s
	Claim     time.Duration // time after which a dead sweeper's claims end; 15 s

	Away time.Duration // time from a user's leaving until Depart looks at it; 0 = no announcements

	// Lease is the time for which this node counts as living after its last sign of life. 0 = no
	// lease: the node watches no others, and only its own next worker cleans up after it.
	Lease time.Duration
	// Silence is the time without an answer of Redis after which the node is Isolated. The default
	// is Lease, or DefaultLease without one.
	Silence time.Duration
	// Refresh is the time between two signs of life, or pings without a lease. The default is a
	// third of Silence.
	Refresh time.Duration
	// About returns a description of this node for Signs, written together with the lease. It must
	// not wait. A nil result keeps the last description.
	About func() []byte

	// Sync waits until earlier writes are on the disk of the store; nil = not needed.
	Sync func(ctx context.Context) error

	// Live walks the live connections, Alive reports whether one is live, and State returns what
	// Redis must know of a live one. A connection is live before Opened and no longer at Closed.
	// All three may be nil.
	Live  func(yield func(fd int64) bool)
	Alive func(fd int64) bool
	State func(fd int64) (e Entry, ok bool)
	// Orphan is called for each connection of a dead process, of this node or another, before its
	// keys are removed. ctx ends after half a Claim. It must not panic.
	Orphan func(ctx context.Context, o Orphan)
	// Deposed is called in a goroutine of its own after this node was declared dead: it was frozen,
	// or could not reach Redis while others could. The caller closes all connections with numbers
	// below floor (1012), whose changes are ignored. Owners decides whose listeners are notified
	// here.
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
