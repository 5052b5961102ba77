package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/library/cache"
)

// plan is what one write to Redis does, in the order in which it must happen: a process that is killed in between leaves nothing
// behind by which nobody finds it. One Redis server executes a pipeline in its order. The masters of a Redis Cluster get their shares side
// by side, so there each part goes when the one before has been taken. So it does beside a Redis without memory, which may take a later
// command and not the one that it needs.
type plan struct {
	list   redis.Pipeliner // the node's list of its connections, and of its users what a departure needs
	note   redis.Pipeliner // what a connection says of itself: where it is, who hears of its end
	places redis.Pipeliner // the sets and the user that lead to it
	forget redis.Pipeliner // what it said
	unlist redis.Pipeliner // it, from the list
}

// errPartly says that the first part of a plan may have been executed: Redis has heard of the connections.
var errPartly = errors.New("a part was written")

// write runs a plan. After an error any part of it may have been executed.
func (n *Node) write(ctx context.Context, fill func(context.Context, *plan)) error {
	if !n.slots && !n.full.Load() {
		err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { fill(ctx, &plan{p, p, p, p, p}) })
		if cache.Full(err) {
			err = errors.Join(errPartly, err)
		}
		return err
	}
	var parts [5]redis.Pipeliner
	for i := range parts {
		parts[i] = n.cfg.Client.Pipeline()
	}
	fill(ctx, &plan{parts[0], parts[1], parts[2], parts[3], parts[4]})
	for i, p := range parts {
		if p.Len() == 0 {
			continue
		}
		if err := n.run(ctx, p); err != nil {
			if i > 0 {
				err = errors.Join(errPartly, err)
			}
			return err
		}
	}
	return nil
}

// straight gives the first of the ops that one plan can do: it forgets last, so nothing that is to be forgotten may be noted again.
func (n *Node) straight(ops []op) []op {
	if !n.slots && !n.full.Load() {
		return ops
	}
	type name struct {
		fd  int64
		key string
	}
	removed := map[name]bool{}
	for i := range ops {
		o := &ops[i]
		switch o.kind {
		case opKeyRemoved, opCloseKeyRemoved, opListenerRemoved:
			removed[name{o.fd, o.key}] = true
		case opKeyAdded, opCloseKeyAdded, opListenerAdded:
			if removed[name{o.fd, o.key}] {
				return ops[:i]
			}
		}
	}
	return ops
}

// call runs one command with the time a call has.
func call[T any](n *Node, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	return f(ctx)
}

// exec runs a pipeline in which nothing must come before anything else.
func (n *Node) exec(ctx context.Context, fill func(context.Context, redis.Pipeliner)) error {
	p := n.cfg.Client.Pipeline()
	fill(ctx, p)
	return n.run(ctx, p)
}

// run executes a pipeline. Only an error that a repetition may cure is returned; what Redis refused for good is logged. Where Redis
// answered all of it, and has no memory for some, the error is one that cache.Full knows.
func (n *Node) run(ctx context.Context, p redis.Pipeliner) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	cmds, err := p.Exec(ctx)
	if err == nil {
		return nil
	}
	if len(cmds) == 0 {
		return err
	}
	var full error
	for _, c := range cmds {
		switch e := c.Err(); {
		case e == nil, errors.Is(e, redis.Nil):
		case cache.Full(e):
			full = e
		case cache.Final(e):
			n.refused(c, e)
		default:
			return e
		}
	}
	return full
}

func (n *Node) refused(c redis.Cmder, err error) {
	n.fdMu.Lock()
	defer n.fdMu.Unlock()
	if now := n.cfg.Now(); now.Sub(n.complainedOf) > time.Second {
		n.complainedOf = now
		n.cfg.Log.Error("redis refuses a bookkeeping command", zap.String("command", c.FullName()), zap.Error(err))
	}
}
