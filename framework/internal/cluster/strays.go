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

	"wsframe/framework/internal/backoff"
)

// A stray is a connection that Redis knows, but that is on no node's list. One Redis server never
// has strays, since a list gets a connection first and loses it last. But the masters of a Redis
// Cluster fail over one by one. If one of them comes back with older data, the keys of ended
// connections are there again, without an entry in a list.
//
// A node looks for strays after its start, after an outage, and after the clean-up of another node.
// An unlisted connection may also belong to a living node whose list was lost. So it is removed
// only if it is still unlisted when every node has had the time to write its list again. The close
// listeners of a stray were notified before, and are not notified again.

// strayPause is the time after a failure until strays are looked for again.
const strayPause = 5 * time.Second

// Strays finds and removes strays.
type Strays struct {
	c        *client
	presence *Presence
	wait     time.Duration // until every node has written its list again
	requests chan struct{} // holds at most one request of seek
}

// seek requests a search.
func (st *Strays) seek() {
	select {
	case st.requests <- struct{}{}:
	default:
	}
}

// Run searches at each request, until the node stops.
func (st *Strays) Run(ctx context.Context) {
	tries := backoff.Backoff{Min: strayPause, Max: strayPause}
	for {
		select {
		case <-st.requests:
		case <-ctx.Done():
			return
		}
		done, err := st.remove(ctx)
		if err != nil && ctx.Err() == nil {
			st.c.log.Warn("what older data of redis has brought back cannot be removed yet", zap.Error(err))
		}
		if !done {
			st.seek()
			tries.Wait(ctx.Done())
		}
	}
}

// remove removes the connections that are unlisted now and after a while. Only one node at a time
// does; done reports that this one did, or that there was nothing to remove.
func (st *Strays) remove(ctx context.Context) (done bool, err error) {
	claim := st.c.keys.strays()
	mine, err := st.c.ifMine(ctx, acquireClaim, claim, (st.wait + time.Minute).Milliseconds())
	if err != nil || !mine {
		return false, err
	}
	defer func() {
		// The claim is ended after a stop, too.
		if _, e := st.c.ifMine(context.WithoutCancel(ctx), endClaim, claim); err == nil {
			err = e
		}
	}()
	found, err := st.everywhere(ctx)
	if err == nil {
		err = st.unlisted(ctx, found)
	}
	if err != nil || len(found) == 0 {
		return err == nil, err
	}
	pause(ctx, st.wait)
	if err := st.unlisted(ctx, found); err != nil {
		return false, err
	}
	for chunk := range slices.Chunk(slices.Collect(maps.Keys(found)), pipeline/8) {
		list, err := st.c.read(ctx, chunk)
		if err != nil {
			return false, err
		}
		for i := range list {
			if list[i].UID == "" {
				list[i].UID = found[list[i].FD]
			}
		}
		if err := st.presence.recordDepartures(ctx, list, func(int64) *Entry { return nil }); err != nil {
			return false, err
		}
		err = st.c.write(ctx, false, func(ctx context.Context, p *plan) {
			for i := range list {
				p.traces(ctx, &list[i])
			}
		})
		if err != nil {
			return false, fmt.Errorf("remove unlisted connections: %w", err)
		}
	}
	if len(found) > 0 {
		st.c.log.Info("removed connections that older data of redis had brought back", zap.Int("connections", len(found)))
	}
	return true, nil
}

// everywhere returns all connections that Redis knows in any way, with their users' ids where those
// have an entry.
func (st *Strays) everywhere(ctx context.Context) (map[int64]string, error) {
	found := map[int64]string{}
	note := func(fd, uid string) {
		if number, err := strconv.ParseInt(fd, 10, 64); err == nil && number > 0 {
			found[number] = max(found[number], uid)
		}
	}
	for key, note := range map[string]func(field, value string){
		st.c.keys.info(): func(field, _ string) { note(field, "") },
		st.c.keys.uids(): func(field, value string) { note(value, field) },
	} {
		err := st.c.pages(ctx, func(ctx context.Context, cursor uint64) (uint64, error) {
			list, next, err := st.c.redis.HScan(ctx, key, cursor, "", pipeline).Result()
			for i := 0; i+1 < len(list); i += 2 {
				note(list[i], list[i+1])
			}
			return next, err
		})
		if err != nil {
			return nil, fmt.Errorf("read the hash %s: %w", key, err)
		}
	}
	own := []string{st.c.keys.closing(""), st.c.keys.listeners("")}
	pattern := globEscape.Replace(st.c.keys.prefix) + "WEBSOCKET_Fd*"
	var mu sync.Mutex // the masters are read at the same time
	err := st.c.eachMaster(ctx, func(ctx context.Context, c redis.Cmdable) error {
		return st.c.pages(ctx, func(ctx context.Context, cursor uint64) (uint64, error) {
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

// unlisted deletes from found the connections that are on a node's list.
func (st *Strays) unlisted(ctx context.Context, found map[int64]string) error {
	members, err := st.c.listMembers(ctx)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(slices.Collect(maps.Keys(found)), pipeline) {
		fds := make([]any, len(chunk))
		for i, fd := range chunk {
			fds[i] = str(fd)
		}
		lists := make([]*redis.BoolSliceCmd, len(members))
		err := st.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for i, m := range members {
				lists[i] = p.SMIsMember(ctx, st.c.keys.fds(m), fds...)
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
