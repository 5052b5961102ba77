package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/library/cache"
)

// pipeline is how many commands leave together: enough to make a round trip cheap, few enough for
// Timeout.
const pipeline = 512

// deadTime is how long the mark of a dead member stays. A process that was frozen for half of it
// trusts its clock instead.
const deadTime = 24 * time.Hour

// client is this process's access to Redis: all other parts of a node have it.
type client struct {
	redis   redis.UniversalClient
	keys    keys
	slots   bool          // it is a Redis Cluster's
	timeout time.Duration // of one call
	id      string        // of this node
	lease   time.Duration // Config.Lease
	token   string        // of this process, in leases and claims
	log     *zap.Logger
	now     func() time.Time
	place   atomic.Pointer[member] // what this process is

	mu         sync.Mutex // a leaf
	complained time.Time
}

func (c *client) self() member { return *c.place.Load() }

func (c *client) leased() bool { return c.lease > 0 }

// call runs one command with the timeout of a call.
func call[T any](c *client, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return f(ctx)
}

// exec runs a pipeline whose commands need no order.
func (c *client) exec(ctx context.Context, fill func(context.Context, redis.Pipeliner)) error {
	p := c.redis.Pipeline()
	fill(ctx, p)
	return c.run(ctx, p)
}

// run executes a pipeline. It returns errors after which a repetition may succeed, and logs
// commands that Redis refused for good. When Redis answered all commands and had no memory for
// some, the error is one of cache.Full.
func (c *client) run(ctx context.Context, p redis.Pipeliner) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cmds, err := p.Exec(ctx)
	if err == nil {
		return nil
	}
	if len(cmds) == 0 {
		return err
	}
	var full error
	for _, cmd := range cmds {
		switch e := cmd.Err(); {
		case e == nil, errors.Is(e, redis.Nil):
		case cache.Full(e):
			full = e
		case cache.Final(e):
			c.refused(cmd, e)
		default:
			return e
		}
	}
	return full
}

func (c *client) refused(cmd redis.Cmder, err error) {
	c.mu.Lock()
	now := c.now()
	say := now.Sub(c.complained) > time.Second
	if say {
		c.complained = now
	}
	c.mu.Unlock()
	if say {
		c.log.Error("redis refuses a bookkeeping command", zap.String("command", cmd.FullName()), zap.Error(err))
	}
}

// A Redis without memory refuses a script whose first write needs memory. The scripts of leases and
// of clean-up therefore begin with a write that needs none and changes nothing. What they add is
// small, and clean-up frees memory.
const (
	enterList = `
redis.call('SREM', KEYS[1], '')
return redis.call('SADD', KEYS[1], ARGV[1])`

	acquireClaim = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`
	setFlag = `
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`
	extendClaim = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`
	endClaim    = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
)

func (c *client) ifMine(ctx context.Context, script, key string, args ...any) (bool, error) {
	answer, err := call(c, ctx, func(ctx context.Context) (int64, error) {
		return c.redis.Eval(ctx, script, []string{key}, append([]any{c.token}, args...)...).Int64()
	})
	if err != nil {
		return false, fmt.Errorf("claim %s: %w", key, err)
	}
	return answer == 1, nil
}

func isOne(answer *redis.Cmd) bool {
	number, err := answer.Int64()
	return err == nil && number == 1
}

// members reads a set in portions, so that a large one does not block Redis. The result contains
// each member that stayed in the set, once.
func (c *client) members(ctx context.Context, key string) ([]string, error) {
	var all []string
	var cursor uint64
	for first := true; ; first = false {
		type page struct {
			list []string
			next uint64
		}
		p, err := call(c, ctx, func(ctx context.Context) (page, error) {
			list, next, err := c.redis.SScan(ctx, key, cursor, "", 512).Result()
			return page{list, next}, err
		})
		if err != nil {
			return nil, fmt.Errorf("read the set %s: %w", key, err)
		}
		all = append(all, p.list...)
		if cursor = p.next; cursor == 0 {
			if first {
				return all, nil
			}
			return unique(all), nil // SSCAN may return a member twice
		}
	}
}

// length returns the number of members of a set.
func (c *client) length(ctx context.Context, key string) (int, error) {
	n, err := call(c, ctx, func(ctx context.Context) (int64, error) { return c.redis.SCard(ctx, key).Result() })
	if err != nil {
		return 0, fmt.Errorf("read the length of the set %s: %w", key, err)
	}
	return int(n), nil
}

func unique(list []string) []string {
	seen := make(map[string]struct{}, len(list))
	kept := list[:0]
	for _, s := range list {
		if _, again := seen[s]; !again {
			seen[s] = struct{}{}
			kept = append(kept, s)
		}
	}
	return kept
}

// read returns what Redis knows of the connections.
func (c *client) read(ctx context.Context, fds []int64) ([]Entry, error) {
	type answer struct {
		auth            *redis.StringCmd
		keys, listeners *redis.StringSliceCmd
	}
	answers := make([]answer, len(fds))
	err := c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, number := range fds {
			fd := str(number)
			answers[i] = answer{p.HGet(ctx, c.keys.info(), fd), p.SMembers(ctx, c.keys.closing(fd)), p.SMembers(ctx, c.keys.listeners(fd))}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read what redis knows of %d connections: %w", len(fds), err)
	}
	entries := make([]Entry, len(fds))
	for i, a := range answers {
		auth := []byte(a.auth.Val())
		entries[i] = Entry{FD: fds[i], Auth: auth, UID: uidOf(auth), Keys: a.keys.Val(), Listeners: a.listeners.Val()}
	}
	return entries, nil
}

func (c *client) listMembers(ctx context.Context) ([]member, error) {
	names, err := c.members(ctx, c.keys.nodes())
	if err != nil {
		return nil, err
	}
	var list []member
	for _, name := range names {
		if m, ok := parseMember(name); ok {
			list = append(list, m)
		}
	}
	return list, nil
}

// enter adds a member to the list of members that live or are not cleaned up yet.
func (c *client) enter(ctx context.Context, m member) error {
	return c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		p.Eval(ctx, enterList, []string{c.keys.nodes()}, m.String())
	})
}

func (c *client) eachMaster(ctx context.Context, f func(context.Context, redis.Cmdable) error) error {
	if c, ok := c.redis.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return f(ctx, c) })
	}
	return f(ctx, c.redis)
}

// pages runs a scan to its end. Each page has the timeout of a call.
func (c *client) pages(ctx context.Context, page func(ctx context.Context, cursor uint64) (next uint64, err error)) error {
	for cursor := uint64(0); ; {
		next, err := call(c, ctx, func(ctx context.Context) (uint64, error) { return page(ctx, cursor) })
		if err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}
