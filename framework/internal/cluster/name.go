package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrTaken is returned when another living server has the same node id.
var ErrTaken = errors.New("another living server has the same node id")

// TakenError is an ErrTaken with a description of the other server.
type TakenError struct {
	Node  string
	About []byte // Config.About of the other server; nil = none
}

func (e *TakenError) Error() string { return fmt.Sprintf("node %s: %v", e.Node, ErrTaken) }

// Is makes errors.Is find ErrTaken.
func (e *TakenError) Is(target error) bool { return target == ErrTaken }

// The holder of a node's id is the incarnation that may acquire its lease. The holder's key also
// contains the place of its process, and lasts as long as a lease. A newcomer becomes the holder
// when there is none, or when it knows that the holder's process has ended. In the same step it
// gets a lease.
const claimName = `
local holder = redis.call('GET', KEYS[1])
if holder then
	local inc = string.match(holder, '^%S*')
	if inc ~= ARGV[1] and inc ~= ARGV[2] then return holder end
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[5])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
return ''`

// holder returns the value of the holder's key.
func (l *Lease) holder(m member) string { return m.inc + " " + l.where }

// claimName makes m the holder. A former holder with the same place has ended, since a place has
// only one server; another one is asked. If that one answers, the error is a TakenError.
func (l *Lease) claimName(ctx context.Context, m member) error {
	for gone := ""; ; {
		holder, err := call(l.c, ctx, func(ctx context.Context) (string, error) {
			return l.c.redis.Eval(ctx, claimName, []string{l.c.keys.holder(m), l.c.keys.lease(m)},
				m.inc, gone, l.holder(m), l.c.token, l.c.lease.Milliseconds()).Text()
		})
		if err != nil {
			return fmt.Errorf("take the node's id: %w", err)
		}
		if holder == "" {
			return nil
		}
		inc, place, _ := strings.Cut(holder, " ")
		if other := (member{m.node, inc}); place == "" || place != l.where {
			if err := l.askHolder(ctx, other); err != nil {
				return err
			}
		}
		gone = inc
	}
}

// askHolder sets a key that a living holder removes with its next look for dead nodes. The result
// is nil when it does not.
func (l *Lease) askHolder(ctx context.Context, m member) error {
	limit := l.every/2 + 2*l.c.timeout
	err := l.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { p.Set(ctx, l.c.keys.asked(m), "1", 2*limit) })
	if err != nil {
		return fmt.Errorf("ask the holder of the node's id: %w", err)
	}
	tick := time.NewTicker(max(l.every/50, time.Millisecond))
	defer tick.Stop()
	for end := l.c.now().Add(limit); l.c.now().Before(end); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the holder of the node's id: %w", ctx.Err())
		}
		open, err := call(l.c, ctx, func(ctx context.Context) (int64, error) { return l.c.redis.Exists(ctx, l.c.keys.asked(m)).Result() })
		if err != nil {
			return fmt.Errorf("wait for the holder of the node's id: %w", err)
		}
		if open == 0 {
			return l.taken(ctx, m)
		}
	}
	return nil
}

// taken returns the error that describes the holder.
func (l *Lease) taken(ctx context.Context, m member) error {
	about, _ := call(l.c, ctx, func(ctx context.Context) ([]byte, error) { // nil where that fails
		return l.c.redis.Get(ctx, l.c.keys.about(m)).Bytes()
	})
	return &TakenError{m.node, about}
}

// predecessor returns the incarnation of the previous worker of a reload. If Redis was emptied,
// that worker enters it again with its next refresh. inc is "" when no worker does.
func (l *Lease) predecessor(ctx context.Context) (member, error) {
	tick := time.NewTicker(max(l.every/10, time.Millisecond))
	defer tick.Stop()
	for end := l.c.now().Add(2 * l.every); ; {
		list, err := l.c.listMembers(ctx)
		if err != nil {
			return member{}, err
		}
		for _, m := range list {
			if m.node != l.c.id {
				continue
			}
			alive, err := call(l.c, ctx, func(ctx context.Context) (int64, error) {
				return l.c.redis.Exists(ctx, l.c.keys.lease(m)).Result()
			})
			if err != nil {
				return member{}, fmt.Errorf("look for the previous worker's lease: %w", err)
			}
			if alive == 1 {
				return m, nil
			}
		}
		if l.c.now().After(end) {
			return member{node: l.c.id}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return member{}, fmt.Errorf("look for the previous worker: %w", ctx.Err())
		}
	}
}
