package chat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework"
)

const (
	viewsField  = "ROOM_TOTAL_PV"
	viewsEvery  = time.Second            // between two saves of the views
	callTimeout = 500 * time.Millisecond // of one Redis call
)

// Views counts the views of each room in Redis: HINCRBY PV:ROOM:{id} ROOM_TOTAL_PV. A worker adds
// up views in memory, and saves them once a second. Views that Redis does not accept are saved
// later; views whose call failed after Redis executed it are counted twice. Views is safe for
// concurrent use.
type Views struct {
	redis  redis.UniversalClient
	prefix string
	log    *zap.Logger

	running sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]int64 // room → views to save; the number of rooms is fixed
}

// viewsKey is the prefix of the hashes. It is reserved, so no room can have such a name.
const viewsKey = "PV:ROOM:"

// NewViews makes a counter whose keys begin with prefix.
func NewViews(client redis.UniversalClient, prefix string, log *zap.Logger) *Views {
	_ = framework.Reserve(viewsKey) // a valid constant never fails
	return &Views{redis: client, prefix: prefix, log: log, waiting: map[string]int64{}}
}

func (v *Views) key(room string) string { return v.prefix + viewsKey + room }

// Add counts one view.
func (v *Views) Add(room string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting[room]++
}

// Totals returns the saved views of all rooms.
func (v *Views) Totals(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	totals := make(map[string]int64, len(rooms))
	pipe := v.redis.Pipeline()
	cmds := make([]*redis.StringCmd, len(rooms))
	for i, room := range rooms {
		cmds[i] = pipe.HGet(ctx, v.key(room.id), viewsField)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, room := range rooms {
		total, err := cmds[i].Int64()
		if err != nil && !errors.Is(err, redis.Nil) { // Nil: no views yet
			return nil, fmt.Errorf("read the views of %s: %w", room.id, err)
		}
		totals[room.id] = total
	}
	return totals, nil
}

// start saves the views once a second until ctx ends, and reports the new totals.
func (v *Views) start(ctx context.Context, report func(room string, total int64) error) {
	v.running.Go(func() {
		tick := time.NewTicker(viewsEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := v.flush(ctx, report); err != nil && ctx.Err() == nil {
					v.log.Warn("views", zap.Error(err))
				}
			}
		}
	})
}

// stop saves the remaining views, without a report.
func (v *Views) stop(ctx context.Context) error {
	v.running.Wait() // the ctx of start has ended
	return v.flush(ctx, func(string, int64) error { return nil })
}

func (v *Views) flush(ctx context.Context, report func(string, int64) error) error {
	v.mu.Lock()
	counted := v.waiting
	v.waiting = map[string]int64{}
	v.mu.Unlock()
	var errs []error
	for room, n := range counted {
		total, err := v.write(ctx, room, n)
		if err == nil {
			err = report(room, total)
		} else {
			v.mu.Lock()
			v.waiting[room] += n
			v.mu.Unlock()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (v *Views) write(ctx context.Context, room string, n int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	total, err := v.redis.HIncrBy(ctx, v.key(room), viewsField, n).Result()
	if err != nil {
		return 0, fmt.Errorf("count the views of %s: %w", room, err)
	}
	return total, nil
}
