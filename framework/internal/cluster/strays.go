package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Strays are connections that Redis knows and no node's list has. One server never makes any, since a list gets a connection first and
// loses it last. But the masters of a Redis Cluster fail over one by one: where the list's has lost nothing, and another one comes back with
// older data, the bookkeeping of connections that have ended is there again. Nobody else would look for it.
//
// A node looks for strays when it has started, after an outage, and when it has cleaned up after another. What is unlisted may also belong to
// a living node whose list was lost. So it is removed if it still is when every node has had the time to write its list again. The close listeners
// of a stray were told before its list lost it, and are not told again.

// strayPause is how long after a failure strays are looked for again.
const strayPause = 5 * time.Second

// seekStrays has strays looked for soon.
func (n *Node) seekStrays() {
	select {
	case n.strays <- struct{}{}:
	default:
	}
}

// keepStrays looks for strays whenever somebody asks for it, until the node stops.
func (n *Node) keepStrays() {
	for {
		select {
		case <-n.strays:
		case <-n.ctx.Done():
			return
		}
		if done, err := n.removeStrays(n.ctx); done || n.ctx.Err() != nil {
			continue
		} else if err != nil {
			n.cfg.Log.Warn("what older data of redis has brought back cannot be removed yet", zap.Error(err))
		}
		n.seekStrays()
		n.pause(strayPause)
	}
}

// pause waits, unless the node stops.
func (n *Node) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-n.ctx.Done():
	}
}

// removeStrays removes what is unlisted now and after a while. One node is at it; done = this one was, or nothing had to be removed.
func (n *Node) removeStrays(ctx context.Context) (done bool, err error) {
	wait := 2*n.cfg.Assert + n.cfg.Lease
	claim := n.keys.strays()
	mine, err := n.ifMine(ctx, takeClaim, claim, (wait + time.Minute).Milliseconds())
	if err != nil || !mine {
		return false, err
	}
	defer func() {
		if _, e := n.ifMine(context.WithoutCancel(ctx), endClaim, claim); err == nil { // a stop may have cut it short
			err = e
		}
	}()
	found, err := n.everywhere(ctx)
	if err == nil {
		err = n.unlisted(ctx, found)
	}
	if err != nil || len(found) == 0 {
		return err == nil, err
	}
	n.pause(wait)
	if err := n.unlisted(ctx, found); err != nil {
		return false, err
	}
	for chunk := range slices.Chunk(slices.Collect(maps.Keys(found)), pipeline/8) {
		list, err := n.read(ctx, chunk)
		if err != nil {
			return false, err
		}
		for i := range list {
			if list[i].UID == "" {
				list[i].UID = found[list[i].FD]
			}
		}
		if err := n.lose(ctx, list, func(int64) *Entry { return nil }); err != nil {
			return false, err
		}
		err = n.write(ctx, func(ctx context.Context, p *plan) {
			for i := range list {
				n.removeTraces(ctx, p, &list[i])
			}
		})
		if err != nil {
			return false, fmt.Errorf("remove unlisted connections: %w", err)
		}
	}
	if len(found) > 0 {
		n.cfg.Log.Info("removed connections that older data of redis had brought back", zap.Int("connections", len(found)))
	}
	return true, nil
}

// everywhere gives all connections that Redis knows in any way, each with its user where he has an entry.
func (n *Node) everywhere(ctx context.Context) (map[int64]string, error) {
	found := map[int64]string{}
	note := func(fd, uid string) {
		if number, err := strconv.ParseInt(fd, 10, 64); err == nil && number > 0 {
			found[number] = max(found[number], uid)
		}
	}
	for key, note := range map[string]func(field, value string){
		n.keys.info(): func(field, _ string) { note(field, "") },
		n.keys.uids(): func(field, value string) { note(value, field) },
	} {
		err := n.pages(ctx, func(ctx context.Context, cursor uint64) (uint64, error) {
			list, next, err := n.cfg.Client.HScan(ctx, key, cursor, "", pipeline).Result()
			for i := 0; i+1 < len(list); i += 2 {
				note(list[i], list[i+1])
			}
			return next, err
		})
		if err != nil {
			return nil, fmt.Errorf("read the hash %s: %w", key, err)
		}
	}
	own := []string{n.keys.closing(""), n.keys.listeners("")}
	pattern := globEscape.Replace(n.keys.prefix) + "WEBSOCKET_Fd*"
	var mu sync.Mutex // the masters are asked side by side
	err := n.eachMaster(ctx, func(ctx context.Context, c redis.Cmdable) error {
		return n.pages(ctx, func(ctx context.Context, cursor uint64) (uint64, error) {
			names, next, err := c.Scan(ctx, cursor, pattern, 2*pipeline).Result()
			mu.Lock()
			defer mu.Unlock()
			for _, name := range names {
				for _, begin := range own {
					if fd, ok := strings.CutPrefix(name, begin); ok {
						note(fd, "")
					}
				}
			}
			return next, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look for the keys of connections: %w", err)
	}
	return found, nil
}

func (n *Node) eachMaster(ctx context.Context, f func(context.Context, redis.Cmdable) error) error {
	if c, ok := n.cfg.Client.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return f(ctx, c) })
	}
	return f(ctx, n.cfg.Client)
}

// pages goes through a scan. Each page has a call's time.
func (n *Node) pages(ctx context.Context, page func(ctx context.Context, cursor uint64) (next uint64, err error)) error {
	for cursor := uint64(0); ; {
		next, err := call(n, ctx, func(ctx context.Context) (uint64, error) { return page(ctx, cursor) })
		if err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

// unlisted deletes those that a node's list has.
func (n *Node) unlisted(ctx context.Context, found map[int64]string) error {
	members, err := n.listMembers(ctx)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(slices.Collect(maps.Keys(found)), pipeline) {
		fds := make([]any, len(chunk))
		for i, fd := range chunk {
			fds[i] = str(fd)
		}
		lists := make([]*redis.BoolSliceCmd, len(members))
		err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for i, m := range members {
				lists[i] = p.SMIsMember(ctx, n.keys.fds(m), fds...)
			}
		})
		if err != nil {
			return fmt.Errorf("look for unlisted connections: %w", err)
		}
		for _, list := range lists {
			for i, listed := range list.Val() {
				if listed {
					delete(found, chunk[i])
				}
			}
		}
	}
	return nil
}
