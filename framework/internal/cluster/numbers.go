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
	size   int64                       // of a block
	toDisk func(context.Context) error // returns when the store has it on its disk; nil: it sees to that itself

	floor atomic.Int64 // numbers below are of an incarnation that was declared dead

	mu         sync.Mutex // above the life's, and in renew above the journal's and the owners'
	fds, spare block
	seen       int64 // how far the counter was
	fetching   bool
	complained time.Time
}

// start reserves the first block, and gives its first number.
func (n *Numbers) start(ctx context.Context) (first int64, err error) {
	b, err := n.reserve(ctx)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fds = b
	return b.next, nil
}

// renew goes on with a block, of which nobody gets a number before between has run: what it does
// must not wait. What has a number of before belongs to others.
func (n *Numbers) renew(b block, between func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.floor.Store(b.next)
	between()
	n.fds, n.spare = b, block{}
}

// current reports whether a connection belongs to the current incarnation of this node. An earlier
// one was declared dead, and its connections are for those to clean up who declared that.
func (n *Numbers) current(fd int64) bool { return fd >= n.floor.Load() }

// left is how many numbers can be given without Redis.
func (n *Numbers) remaining() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fds.end - n.fds.next + n.spare.end - n.spare.next
}

// The counter is the last number reserved by anybody, and behind an @ the run of the Redis server
// that reserved it. Another run may have lost the last seconds before it, by a failover or a crash,
// and with them reservations: it begins with a jump. Where the server does not tell its run, as the
// embedded one, there is none.
//
// Nor is the counter ever below the time: 2^22 for each second since 2026, by Redis' own clock. So
// a store that was emptied or came back with older data does not give a number again either.
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

// reserve takes the next block. A counter below what has been seen was lost with Redis's data, and
// is raised first.
func (n *Numbers) reserve(ctx context.Context) (block, error) {
	for range 3 {
		end, err := call(n.c, ctx, func(ctx context.Context) (int64, error) {
			return n.c.redis.Eval(ctx, reserveBlock, []string{n.c.keys.counter()}, n.size, lostJump).Int64()
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
		if end-n.size >= seen {
			n.seen = end
			n.mu.Unlock()
			return block{end - n.size + 1, end + 1}, nil
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

// check notes how far the counter is, and raises it when it was lost, before a node that starts can
// be given the numbers of live connections.
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

// NextFD gives a number that no connection of any node ever had. It never waits for Redis: the next
// block is reserved while half of this one is left. The error is ErrNoFD.
func (n *Numbers) NextFD() (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fds.next == n.fds.end {
		n.fds, n.spare = n.spare, block{}
	}
	if n.fds.end-n.fds.next <= n.size/2 && n.spare == (block{}) && !n.fetching {
		n.fetching = n.life.Go(n.fetch)
	}
	if n.fds.next == n.fds.end {
		return 0, ErrNoFD
	}
	n.fds.next++
	return n.fds.next - 1, nil
}

func (n *Numbers) fetch() {
	b, err := n.reserve(n.life.ctx)
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

// sync has the store write everything to its disk. A disk that fails keeps nobody out: that a
// number is not given twice needs it only where the clock was set back.
func (n *Numbers) sync(ctx context.Context) {
	if n.toDisk == nil {
		return
	}
	if err := n.toDisk(ctx); err != nil {
		n.c.log.Warn("the counter of connection numbers is not on the disk yet", zap.Error(err))
	}
}
