package cluster

import (
	"context"
	"fmt"
	"strconv"
)

// members reads a set in portions, so that a large one does not hold up Redis. A member that was there all the time is
// there once.
func (n *Node) members(ctx context.Context, key string) ([]string, error) {
	var all []string
	var cursor uint64
	for first := true; ; first = false {
		type page struct {
			list []string
			next uint64
		}
		p, err := call(n, ctx, func(ctx context.Context) (page, error) {
			list, next, err := n.cfg.Client.SScan(ctx, key, cursor, "", 512).Result()
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
			return unique(all), nil // SSCAN may repeat itself
		}
	}
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

// SyncRoom reads the members of a room's set from Redis, of all nodes, in no order. What is not a number is left out.
func (n *Node) SyncRoom(ctx context.Context, room string) ([]int64, error) {
	list, err := n.members(ctx, n.keys.prefix+room)
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

// Dead tells which of the fds Redis knows no connection of, on any node.
func (n *Node) Dead(ctx context.Context, fds []int64) ([]int64, error) {
	var dead []int64
	for len(fds) > 0 {
		part := fds[:min(len(fds), 512)]
		fds = fds[len(part):]
		names := make([]string, len(part))
		for i, fd := range part {
			names[i] = str(fd)
		}
		found, err := call(n, ctx, func(ctx context.Context) ([]any, error) {
			return n.cfg.Client.HMGet(ctx, n.keys.info(), names...).Result()
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
