package cluster

import (
	"context"
	"fmt"
	"strconv"
)

// Rooms reads and mends the sets in which Redis has the members of rooms, of all nodes.
type Rooms struct {
	c       *client
	life    *life
	journal *journal
}

// SyncRoom returns the members of a room's set, of all nodes, in no order, without those that are
// no numbers.
func (r *Rooms) SyncRoom(ctx context.Context, room string) ([]int64, error) {
	list, err := r.c.members(ctx, r.c.keys.prefix+room)
	if err != nil {
		return nil, err
	}
	fds := make([]int64, 0, len(list))
	for _, s := range list {
		if fd, err := strconv.ParseInt(s, 10, 64); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// Dead returns the fds of which Redis knows no connection, on any node.
func (r *Rooms) Dead(ctx context.Context, fds []int64) ([]int64, error) {
	var dead []int64
	for len(fds) > 0 {
		part := fds[:min(len(fds), 512)]
		fds = fds[len(part):]
		names := make([]string, len(part))
		for i, fd := range part {
			names[i] = str(fd)
		}
		found, err := call(r.c, ctx, func(ctx context.Context) ([]any, error) {
			return r.c.redis.HMGet(ctx, r.c.keys.info(), names...).Result()
		})
		if err != nil {
			return nil, fmt.Errorf("ask which connections live: %w", err)
		}
		for i, v := range found {
			if v == nil {
				dead = append(dead, part[i])
			}
		}
	}
	return dead, nil
}

// Stale notes that the fd of a connection that has ended, on whichever node, is to leave a room's
// set.
func (r *Rooms) Stale(fd int64, room string) {
	r.journal.append(op{kind: opStale, fd: fd, key: room})
}

// Flush waits until Redis knows all joins and leaves of this node before the call.
func (r *Rooms) Flush(ctx context.Context) error { return r.journal.flush(ctx, r.life.ctx.Done()) }
