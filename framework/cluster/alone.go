package cluster

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// inherit finds what earlier processes left in a store that is this node's alone: connections in this
// node's own list, and in those of nodes whose name was another one, as after a move of the runtime
// directory or in a new container. All these processes have ended, so nobody waits for their claims.
func (n *Node) inherit(ctx context.Context, m member) error {
	err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { p.SAdd(ctx, n.keys.nodes(), m.String()) })
	if err != nil {
		return fmt.Errorf("enter the list of nodes: %w", err)
	}
	if n.cfg.Reload {
		return nil
	}
	n.settled.Store(true)
	names, err := n.members(ctx, n.keys.nodes())
	if err != nil {
		return err
	}
	for _, name := range names {
		old := member{node: name[min(1, len(name)):]}
		if name != old.String() { // of a node with a lease
			continue
		}
		fds, err := n.members(ctx, n.keys.fds(old))
		if err != nil {
			return err
		}
		if err := n.dropClaims(ctx, old, fds); err != nil {
			return err
		}
		if old != m {
			n.leftover = append(n.leftover, old)
			continue
		}
		n.rest = make(map[string]bool, len(fds))
		for _, fd := range fds {
			n.rest[fd] = true
		}
	}
	return nil
}

// dropClaims ends the claims of processes that have ended, but for those which say that a listener has
// been told.
func (n *Node) dropClaims(ctx context.Context, m member, fds []string) error {
	for chunk := range slices.Chunk(fds, 512) {
		owners := make([]*redis.StringCmd, len(chunk))
		err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for i, fd := range chunk {
				owners[i] = p.Get(ctx, n.keys.claim(m, fd))
			}
		})
		if err != nil {
			return fmt.Errorf("look for the claims of a process that has ended: %w", err)
		}
		err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			p.Del(ctx, n.keys.sweep(m))
			for i, fd := range chunk {
				if owner := owners[i].Val(); owner != "" && owner != ran {
					p.Del(ctx, n.keys.claim(m, fd))
				}
			}
		})
		if err != nil {
			return fmt.Errorf("end the claims of a process that has ended: %w", err)
		}
	}
	return nil
}

// sync has the store write everything to its disk. A disk that fails keeps nobody out: that a number is
// not given twice needs it only where the clock was set back.
func (n *Node) sync(ctx context.Context) {
	if n.cfg.Sync == nil {
		return
	}
	if err := n.cfg.Sync(ctx); err != nil {
		n.cfg.Log.Warn("the counter of connection numbers is not on the disk yet", zap.Error(err))
	}
}
