package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// ErrNoFD means that no number can be given: Redis has been away for longer than the reserved ones
// lasted, or has none.
var ErrNoFD = errors.New("no connection number is left")

// maxFD keeps numbers exact in JavaScript.
const maxFD = 1 << 53

// lostJump is how far the counter is moved beyond what this node has seen when Redis has lost its
// value: other nodes may have reserved more since.
const lostJump = 1 << 20

// block is a range of numbers, [next, end).
type block struct{ next, end int64 }

// Numbers gives connections their numbers. They are reserved in blocks, so that a connection waits
// for Redis only when Redis has been away for a whole block.
type Numbers struct {
	c      *client
	life   *life
	size   int64                       // of a block, at least
	toDisk func(context.Context) error // Config.Sync

	floor atomic.Int64 // numbers below are of an incarnation that was declared dead

	mu         sync.Mutex // above the life's, and in renew above the journal's and the owners'
	fds, spare block
	seen       int64 // how far the counter was
	fetching   bool
	fetched    time.Time // when the last fetch began
	wanted     int64     // size of the block that it fetches
	complained time.Time
}

// start reserves the first block, and gives its first number.
func (n *Numbers) start(ctx context.Context) (first int64, err error) {
	b, err := n.reserve(ctx, n.size)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fds = b
	return b.next, nil
}

// renew continues with another block. Connections with older numbers belong to others from then on.
// No number of the block is given before between has run, which must not wait.
func (n *Numbers) renew(b block, between func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.floor.Store(b.next)
	between()
	n.fds, n.spare = b, block{}
}

// current reports whether a connection belongs to the current incarnation of this node. Connections
// of an earlier one, which was declared dead, are cleaned up by others.
func (n *Numbers) current(fd int64) bool { return fd >= n.floor.Load() }

// remaining returns how many numbers can be given without Redis.
func (n *Numbers) remaining() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fds.end - n.fds.next + n.spare.end - n.spare.next
}

// The counter holds the last reserved number and, after an @, the run id of the Redis server that
// reserved it. A server with another run id may have lost the last reservations in a failover or a
// crash, so it first jumps ahead. The embedded server has no run id and does not jump.
//
// The counter is never below the time: 2^22 for each second since 2026, by the clock of Redis. So a
// store that was emptied, or came back with older data, does not reserve a number again.
const reserveBlock = `
local at, was = string.match(redis.call('GET', KEYS[1]) or '0', '^(%d+)@?(%w*)$')
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or was
at = tonumber(at)
if run ~= was and at > 0 then at = at + tonumber(ARGV[2]) end
local time = redis.call('TIME')
local since = math.floor((tonumber(time[1]) - 1767225600 + tonumber(time[2]) / 1000000) * 4194304)
if since > at and since < 4503599627370496 then at = since end -- a clock that is wrong by decades counts for nothing
at = at + tonumber(ARGV[1])
redis.call('PERSIST', KEYS[1]) -- see client.go
redis.call('SET', KEYS[1], string.format('%.0f', at) .. (run ~= '' and '@' .. run or ''))
return at`

// reserve reserves the next block, of a size. A counter below the last known one was lost with
// Redis' data, and is raised first.
func (n *Numbers) reserve(ctx context.Context, size int64) (block, error) {
	for range 3 {
		end, err := call(n.c, ctx, func(ctx context.Context) (int64, error) {
			return n.c.redis.Eval(ctx, reserveBlock, []string{n.c.keys.counter()}, size, lostJump).Int64()
		})
		if err != nil {
			return block{}, fmt.Errorf("reserve connection numbers: %w", err)
		}
		n.sync(ctx)
		if end >= maxFD {
			return block{}, fmt.Errorf("reserve connection numbers: %s has reached 2^53, beyond which JavaScript rounds", n.c.keys.counter())
		}
		n.mu.Lock()
		seen := n.seen
		if end-size >= seen {
			n.seen = end
			n.mu.Unlock()
			return block{end - size + 1, end + 1}, nil
		}
		n.mu.Unlock()
		if err := n.raise(ctx, seen+lostJump); err != nil {
			return block{}, err
		}
	}
	return block{}, fmt.Errorf("reserve connection numbers: %s does not keep its value", n.c.keys.counter())
}

const raise = `
redis.call('PERSIST', KEYS[1])
local at, run = string.match(redis.call('GET', KEYS[1]) or '0', '^(%d+)(@?%w*)$')
if tonumber(at) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1] .. run) end
return 0`

func (n *Numbers) raise(ctx context.Context, to int64) error {
	_, err := call(n.c, ctx, func(ctx context.Context) (any, error) {
		return n.c.redis.Eval(ctx, raise, []string{n.c.keys.counter()}, str(to)).Result()
	})
	if err != nil {
		return fmt.Errorf("raise the counter of connection numbers: %w", err)
	}
	return nil
}

// check reads the counter and raises it when it was lost, so that a starting node does not get the
// numbers of live connections.
func (n *Numbers) check(ctx context.Context) error {
	text, err := call(n.c, ctx, func(ctx context.Context) (string, error) {
		return n.c.redis.Get(ctx, n.c.keys.counter()).Result()
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read the counter of connection numbers: %w", err)
	}
	number, _, _ := strings.Cut(text, "@")
	at, _ := strconv.ParseInt(number, 10, 64)
	n.mu.Lock()
	seen := n.seen
	n.seen = max(n.seen, at)
	n.mu.Unlock()
	if at >= seen {
		return nil
	}
	return n.raise(ctx, seen+lostJump)
}

// NextFD returns a number that no connection of any node ever had. It does not wait for Redis,
// since there is another block in reserve. The error is ErrNoFD.
func (n *Numbers) NextFD() (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fds.next == n.fds.end {
		n.fds, n.spare = n.spare, block{}
	}
	if n.spare == (block{}) && !n.fetching {
		n.want(n.c.now())
		n.fetching = n.life.Go(n.fetch)
	}
	if n.fds.next == n.fds.end {
		return 0, ErrNoFD
	}
	n.fds.next++
	return n.fds.next - 1, nil
}

// want chooses the size of the next block. A block that lasted for less than some seconds is
// followed by a larger one, since a slow disk may take that long to reserve it. mu is held.
func (n *Numbers) want(now time.Time) {
	const enough, most = 5 * time.Second, 16
	if now.Sub(n.fetched) < enough {
		n.wanted = min(2*n.wanted, most*n.size)
	} else {
		n.wanted = n.size
	}
	n.fetched = now
}

func (n *Numbers) fetch() {
	n.mu.Lock()
	size := n.wanted
	n.mu.Unlock()
	b, err := n.reserve(n.life.ctx, size)
	n.mu.Lock()
	n.fetching = false
	if err == nil && b.next >= n.floor.Load() {
		n.spare = b
	}
	left := n.fds.end - n.fds.next
	complain := err != nil && n.life.ctx.Err() == nil && n.c.now().Sub(n.complained) > time.Second
	if complain {
		n.complained = n.c.now() // asked again with the next connection
	}
	n.mu.Unlock()
	if complain {
		n.c.log.Warn("redis", zap.Int64("left", left), zap.Error(err))
	}
}

// sync waits until the store is on its disk. A failure is only logged, since the time keeps numbers
// unique unless the clock was set back.
func (n *Numbers) sync(ctx context.Context) {
	if n.toDisk == nil {
		return
	}
	if err := n.toDisk(ctx); err != nil {
		n.c.log.Warn("the counter of connection numbers is not on the disk yet", zap.Error(err))
	}
}
