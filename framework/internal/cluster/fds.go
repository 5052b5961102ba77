package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// ErrNoFD means that no number can be given: Redis has been away for longer than the reserved ones lasted, or has none.
var ErrNoFD = errors.New("no connection number is left")

// maxFD keeps numbers exact in JavaScript.
const maxFD = 1 << 53

// lostJump is how far the counter is moved beyond what this node has seen when Redis has lost its value: other nodes may
// have reserved more since.
const lostJump = 1 << 20

// block is a range of numbers, [next, end).
type block struct{ next, end int64 }

// The counter is the last number reserved by anybody, and behind an @ the run of the Redis server that reserved it. Another run may have
// lost the last seconds before it, by a failover or a crash, and with them reservations: it begins with a jump. Where the server does not tell
// its run, as the embedded one, there is none.
//
// Nor is the counter ever below the time: 2^22 for each second since 2026, by Redis' own clock. So a
// store that was emptied or came back with older data does not give a number again either.
const takeBlock = `
local at, was = string.match(redis.call('GET', KEYS[1]) or '0', '^(%d+)@?(%w*)$')
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or was
at = tonumber(at)
if run ~= was and at > 0 then at = at + tonumber(ARGV[2]) end
local time = redis.call('TIME')
local since = math.floor((tonumber(time[1]) - 1767225600 + tonumber(time[2]) / 1000000) * 4194304)
if since > at and since < 4503599627370496 then at = since end -- a clock that is wrong by decades counts for nothing
at = at + tonumber(ARGV[1])
redis.call('PERSIST', KEYS[1]) -- see lease.go
redis.call('SET', KEYS[1], string.format('%.0f', at) .. (run ~= '' and '@' .. run or ''))
return at`

// reserve takes the next block. A counter below what has been seen was lost with Redis's data, and is raised first.
func (n *Node) reserve(ctx context.Context) (block, error) {
	for range 3 {
		end, err := call(n, ctx, func(ctx context.Context) (int64, error) {
			return n.cfg.Client.Eval(ctx, takeBlock, []string{n.keys.counter()}, n.cfg.BlockSize, lostJump).Int64()
		})
		if err != nil {
			return block{}, fmt.Errorf("reserve connection numbers: %w", err)
		}
		n.sync(ctx)
		if end >= maxFD {
			return block{}, fmt.Errorf("reserve connection numbers: %s has reached 2^53, beyond which JavaScript rounds", n.keys.counter())
		}
		n.fdMu.Lock()
		seen := n.seen
		if end-n.cfg.BlockSize >= seen {
			n.seen = end
			n.fdMu.Unlock()
			return block{end - n.cfg.BlockSize + 1, end + 1}, nil
		}
		n.fdMu.Unlock()
		if err := n.raise(ctx, seen+lostJump); err != nil {
			return block{}, err
		}
	}
	return block{}, fmt.Errorf("reserve connection numbers: %s does not keep its value", n.keys.counter())
}

const raise = `
redis.call('PERSIST', KEYS[1])
local at, run = string.match(redis.call('GET', KEYS[1]) or '0', '^(%d+)(@?%w*)$')
if tonumber(at) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1] .. run) end
return 0`

func (n *Node) raise(ctx context.Context, to int64) error {
	_, err := call(n, ctx, func(ctx context.Context) (any, error) {
		return n.cfg.Client.Eval(ctx, raise, []string{n.keys.counter()}, str(to)).Result()
	})
	if err != nil {
		return fmt.Errorf("raise the counter of connection numbers: %w", err)
	}
	return nil
}

// watchCounter notes how far the counter is, and raises it when it was lost, before a node that starts can be given the
// numbers of live connections.
func (n *Node) watchCounter(ctx context.Context) error {
	text, err := call(n, ctx, func(ctx context.Context) (string, error) {
		return n.cfg.Client.Get(ctx, n.keys.counter()).Result()
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read the counter of connection numbers: %w", err)
	}
	number, _, _ := strings.Cut(text, "@")
	at, _ := strconv.ParseInt(number, 10, 64)
	n.fdMu.Lock()
	seen := n.seen
	n.seen = max(n.seen, at)
	n.fdMu.Unlock()
	if at >= seen {
		return nil
	}
	return n.raise(ctx, seen+lostJump)
}

// NextFD gives a number that no connection of any node ever had. It never waits for Redis: the next block is reserved
// while half of this one is left. The error is ErrNoFD.
func (n *Node) NextFD() (int64, error) {
	n.fdMu.Lock()
	defer n.fdMu.Unlock()
	if n.fds.next == n.fds.end {
		n.fds, n.spare = n.spare, block{}
	}
	if n.fds.end-n.fds.next <= n.cfg.BlockSize/2 && n.spare == (block{}) && !n.fetching && !n.stopped {
		n.fetching = true
		n.work.Go(n.fetch)
	}
	if n.fds.next == n.fds.end {
		return 0, ErrNoFD
	}
	n.fds.next++
	return n.fds.next - 1, nil
}

func (n *Node) fetch() {
	b, err := n.reserve(n.ctx)
	n.fdMu.Lock()
	defer n.fdMu.Unlock()
	n.fetching = false
	switch {
	case err == nil && b.next >= n.floor.Load():
		n.spare = b
	case err != nil && n.ctx.Err() == nil && n.cfg.Now().Sub(n.complained) > time.Second:
		n.complained = n.cfg.Now() // asked again with the next connection
		n.cfg.Log.Warn("redis", zap.Int64("left", n.fds.end-n.fds.next), zap.Error(err))
	}
}
