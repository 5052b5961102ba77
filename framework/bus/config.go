package bus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Shards is the number of shards of all nodes.
const Shards = 4

// Config of a Bus. Zero means the default.
type Config struct {
	Client redis.UniversalClient
	Prefix string // before every key

	// Alone means that the store is this server's own. Nothing is written to the streams.
	Alone   bool
	Shards  int           // streams; every node must have the same number; 4
	Timeout time.Duration // of one Redis call; 500 ms

	// Interest is what this process needs of messages to rooms; it is not used with Alone. nil =
	// everything is read, and written to one stream.
	Interest *Interest

	// PendingMessages bounds the messages that wait to be written; beyond it Send returns ErrFull.
	// 100,000.
	PendingMessages int
	PendingBytes    int // bounds their bytes; 32 MiB

	// StreamLength is about how many messages a shard keeps for nodes that are late. 100,000.
	StreamLength int
	StreamBytes  int           // about how many bytes it keeps; 64 MiB
	StreamAge    time.Duration // about how long it keeps a message; 1 minute

	// Doubt bounds the wait for the other nodes after Redis was restarted or replaced: they compare
	// what they know with what it has. 5 s.
	Doubt time.Duration

	// Receive is called for each message, in the order of its shard, by one goroutine per shard. A
	// slow call delays its shard. It must not wait for Redis; panics are logged.
	Receive func(m *Message)

	// Lost is called, like Receive, where messages were gone before they could be read; the next
	// message comes after it. concerns tells whether messages of a key may be among the lost ones.
	// nil = nobody wants to know.
	Lost func(concerns func(key string) bool)

	// State is the result of another process's Suspend: this Bus continues as the same sender, from
	// the same positions. nil = a new sender.
	State []byte

	Log *zap.Logger
}

// lanes is the number of sub-streams of each shard; 0 = there are none.
func (c *Config) lanes() int {
	if c.Interest == nil || c.Alone {
		return 0
	}
	return c.Interest.lanes
}

func (c *Config) fill() error {
	if c.Client == nil || c.Receive == nil {
		return errors.New("bus: Client and Receive are needed")
	}
	if i := strings.Index(c.Prefix, "{"); i >= 0 && strings.Index(c.Prefix[i:], "}") < 2 { // unclosed, or empty
		return fmt.Errorf("bus: the prefix %q would spoil the hash tags of a Redis Cluster", c.Prefix)
	}
	for _, d := range []struct {
		p *int
		v int
	}{{&c.Shards, Shards}, {&c.PendingMessages, 100_000}, {&c.PendingBytes, 32 << 20}, {&c.StreamLength, 100_000}, {&c.StreamBytes, 64 << 20}} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if c.lanes() > 0 && len(c.Interest.shards) != c.Shards {
		return fmt.Errorf("bus: an Interest in %d shards, of %d", len(c.Interest.shards), c.Shards)
	}
	if c.StreamAge <= 0 {
		c.StreamAge = time.Minute
	}
	if c.Doubt <= 0 {
		c.Doubt = 5 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 500 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return nil
}
