package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// ErrNoFD means that no number can be given: Redis has been away for longer than the reserved ones lasted.
var ErrNoFD = errors.New("no connection number is left and Redis does not answer")

// maxFD keeps numbers exact in JavaScript.
const maxFD = 1 << 53

// Config of a Node. Zero means the default.
type Config struct {
	Client  redis.UniversalClient
	Prefix  string        // before every key
	NodeID  string        // of this server, the same over reloads and restarts of its worker
	Reload  bool          // the previous worker of this node still lives: its connections are no leftovers
	Timeout time.Duration // of one call; 500 ms
	Block   int64         // numbers reserved at a time; 4,096
	Journal int           // operations kept while Redis is away; 200,000
	Assert  time.Duration // how often the live connections are asserted; 20 s
	Log     *zap.Logger

	Live   func(yield func(Entry) bool) // walks the live connections
	Alive  func(fd int64) bool
	Orphan func(ctx context.Context, o Orphan) // called for each connection that a crashed worker left behind
}

// Entry is what Redis knows of one connection.
type Entry struct {
	FD        int64
	Auth      []byte   // JSON of the identity
	UID       string   // the user's id, for wechatUser only
	Keys      []string // sets from which the fd is removed on close
	Listeners []string // controllers that are told of the close
}

// Orphan is a connection whose process died.
type Orphan = Entry

// Node is this server's place in Redis.
type Node struct {
	cfg  Config
	keys keys

	fdMu     sync.Mutex
	next     int64
	end      int64
	spare    [2]int64 // the next block, [0,0] = none
	fetching bool

	j        journal
	leftover []string
	settled  atomic.Bool

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

// keys are the names in Redis. The contract's carry no hash tag, so every command touches one key only.
type keys struct{ prefix, node string }

func (k keys) info() string               { return k.prefix + "WEBSOCKET_FDINFO" }
func (k keys) uids() string               { return k.prefix + "WEBSOCKET_UIDTOFD" }
func (k keys) listeners(fd string) string { return k.prefix + "WEBSOCKET_FdController_" + fd }
func (k keys) closing(fd string) string   { return k.prefix + "WEBSOCKET_FdCloseSetKey_" + fd }
func (k keys) counter() string            { return k.prefix + "WSFRAME_FD_NEXT" }
func (k keys) own() string                { return k.prefix + "WSFRAME_NODE_FDS_" + k.node }

func str(fd int64) string { return strconv.FormatInt(fd, 10) }

// Start reserves numbers and looks for what a crashed worker of this node left behind. It fails when Redis does not answer
// within ctx. Run must follow.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 500 * time.Millisecond
	}
	if cfg.Block == 0 {
		cfg.Block = 4096
	}
	if cfg.Journal == 0 {
		cfg.Journal = 200_000
	}
	if cfg.Assert == 0 {
		cfg.Assert = 20 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	n := &Node{cfg: cfg, keys: keys{cfg.Prefix, cfg.NodeID}}
	n.j.init(cfg.Journal)
	n.ctx, n.stop = context.WithCancel(context.Background())
	block, err := n.reserve(ctx)
	if err != nil {
		n.stop()
		return nil, err
	}
	n.next, n.end = block[0], block[1]
	if !cfg.Reload {
		if n.leftover, err = n.ownFDs(ctx); err != nil {
			n.stop()
			return nil, err
		}
		n.settled.Store(true)
	}
	return n, nil
}

// Run starts the background work: writing the journal, sweeping leftovers, asserting what lives.
func (n *Node) Run() {
	n.work.Go(n.drain)
	n.work.Go(func() {
		n.sweep(n.leftover)
		n.leftover = nil
		n.assertLoop()
	})
}

// Settle says that the previous worker of a reload has ended: whatever of this node's is not live here is a leftover now.
func (n *Node) Settle() { n.settled.Store(true) }

func (n *Node) reserve(ctx context.Context) ([2]int64, error) {
	end, err := n.cfg.Client.IncrBy(ctx, n.keys.counter(), n.cfg.Block).Result()
	if err != nil {
		return [2]int64{}, fmt.Errorf("reserve connection numbers: %w", err)
	}
	if end >= maxFD {
		return [2]int64{}, fmt.Errorf("reserve connection numbers: %s has reached 2^53, beyond which JavaScript rounds", n.keys.counter())
	}
	return [2]int64{end - n.cfg.Block + 1, end + 1}, nil
}

// NextFD gives a number that no connection of any node ever had. It never waits for Redis: the next block is reserved
// while half of this one is left.
func (n *Node) NextFD() (int64, error) {
	n.fdMu.Lock()
	defer n.fdMu.Unlock()
	if n.next == n.end && n.spare[1] != 0 {
		n.next, n.end = n.spare[0], n.spare[1]
		n.spare = [2]int64{}
	}
	if n.end-n.next <= n.cfg.Block/2 && n.spare[1] == 0 && !n.fetching && n.ctx.Err() == nil {
		n.fetching = true
		n.work.Go(n.fetch)
	}
	if n.next == n.end {
		return 0, ErrNoFD
	}
	n.next++
	return n.next - 1, nil
}

func (n *Node) fetch() {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Timeout)
	defer cancel()
	block, err := n.reserve(ctx)
	n.fdMu.Lock()
	defer n.fdMu.Unlock()
	n.fetching = false
	if err != nil {
		if n.ctx.Err() == nil {
			n.cfg.Log.Warn("redis", zap.Error(err)) // asked again with the next connection
		}
		return
	}
	n.spare = block
}

// Stop writes what is left of the journal, takes this node's keys out of Redis, and ends the background work.
func (n *Node) Stop(ctx context.Context) error {
	err := n.Flush(ctx)
	n.stop()
	n.work.Wait()
	return err
}
