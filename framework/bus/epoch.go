package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// readerTime is the interval at which a node registers as one of those that read a shard.
const readerTime = 5 * time.Second

// errDoubt is the reply of a Redis that may have lost data, until all nodes have compared what they
// know with what it has.
var errDoubt = errors.New("bus: redis has begun anew, and the nodes compare what it knows")

// shardEpoch is the newest epoch and count of kept messages that Redis reported for one shard. A
// shard's epoch is part of the epoch of each of its rooms. After a loss of data a shard gets a new
// epoch, which ends all positions in its rooms, for readers and for writers.
//
// A Redis that was restarted or promoted has another run id. Whether it has all data depends on how
// it saves, and on the replica. The nodes can tell: each remembers the highest count that it was
// given. The shard is in doubt until each node that read it before the outage has found its count
// there. Then the epoch stays. It is renewed as soon as one node finds less than it knows, or where
// one is not heard within Config.Doubt, because it died with its Redis or is on the other side of a
// split. So no position is given twice, and no client relies on data that a node cannot prove.
//
// The embedded store renews the epochs itself when it has lost data: see NewEpochs.
//
// Methods are safe for concurrent use. The lock is a leaf.
type shardEpoch struct {
	stream   *stream
	sender   *sender
	patience time.Duration // 0 = the store is this server's own
	lanes    int           // of the shard
	log      *zap.Logger

	mu    sync.Mutex
	name  string
	count int64
}

func newShardEpoch(cfg *Config, st *stream, se *sender) *shardEpoch {
	e := &shardEpoch{stream: st, sender: se, patience: cfg.Doubt, lanes: cfg.lanes(), log: cfg.Log}
	if cfg.Alone {
		e.patience = 0
	}
	return e
}

// arguments are those of the script's function enter.
func (e *shardEpoch) arguments() []any {
	name, count := e.known()
	return []any{e.sender.Token(), name, count, rand.Text()[:10], e.patience.Milliseconds()}
}

func (e *shardEpoch) known() (name string, count int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.name, e.count
}

// adopt takes what the previous process knew.
func (e *shardEpoch) adopt(name string, count int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.name, e.count = name, count
}

// learn notes the epoch and the count in a script's reply.
func (e *shardEpoch) learn(name, count string) error {
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || name == "" {
		return err
	}
	if e.replace(name, n) {
		e.log.Warn("redis may have lost kept messages: their rooms have a new epoch", zap.String("shard", e.stream.tag))
	}
	return nil
}

// replace notes an epoch and its count, and reports whether another epoch was known before.
func (e *shardEpoch) replace(name string, count int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	renewed := e.name != "" && e.name != name
	if e.name == name {
		count = max(count, e.count)
	}
	e.name, e.count = name, count
	return renewed
}

// received notes the count of a message that was read, unless the message is an old one.
func (e *shardEpoch) received(m *Message) {
	_, name, _ := strings.Cut(m.Epoch, ".")
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.count > e.count {
		e.name, e.count = name, m.count
	}
}

// enter registers this node as one of the shard's readers. errDoubt means that other nodes have
// still to compare.
func (e *shardEpoch) enter(ctx context.Context) error {
	reply, err := e.stream.run(ctx, look, []string{e.stream.record()}, append(e.arguments(), "", e.lanes))
	switch {
	case err != nil:
		return err
	case len(reply) == 1:
		return errDoubt
	}
	return e.learn(reply[1], reply[2])
}

// agree fails where nodes read the shard that divide it into another number of sub-streams: they
// would miss what this one sends to rooms, and it what they send.
func (e *shardEpoch) agree(ctx context.Context) error {
	reply, err := e.stream.run(ctx, look, []string{e.stream.record()}, append(e.arguments(), "ask", e.lanes))
	if err == nil && len(reply) == 1 && reply[0] != strconv.Itoa(e.lanes) {
		return fmt.Errorf("%w: %s, not %d", ErrSubstreams, reply[0], e.lanes)
	}
	return err
}

// leave removes this node from the shard's readers, so that no other node waits for it.
func (e *shardEpoch) leave(ctx context.Context) error {
	_, err := e.stream.run(ctx, look, []string{e.stream.record()}, append(e.arguments(), "leave", e.lanes))
	return err
}
