package framework

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
)

// roomSyncs brings the local index of a room and its Redis set together: back ends may write to the set, and fds that are
// gone are removed from it (contract §4). It runs behind publishes, at most once in syncEvery for a room, and
// nothing waits for it: when it is behind, a room's turn comes with a later publish.
type roomSyncs struct {
	app   *App
	queue chan string
	stop  context.CancelFunc
	done  chan struct{}

	mu   sync.Mutex
	last map[string]time.Time
}

const syncEvery = 10 * time.Second

func newRoomSyncs(a *App) *roomSyncs {
	ctx, cancel := context.WithCancel(context.Background())
	s := &roomSyncs{app: a, queue: make(chan string, 256), stop: cancel, done: make(chan struct{}), last: map[string]time.Time{}}
	go s.run(ctx)
	return s
}

func (s *roomSyncs) close() {
	s.stop()
	<-s.done
}

func (a *App) syncRoom(room string) {
	s := a.syncs
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last[room]) < syncEvery {
		return
	}
	if len(s.last) > 10_000 {
		clear(s.last)
	}
	select {
	case s.queue <- room:
		s.last[room] = now
	default:
	}
}

func (s *roomSyncs) run(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			return
		case room := <-s.queue:
			if err := s.sync(ctx, room); err != nil && ctx.Err() == nil {
				s.app.log.Warn("room cannot be compared with Redis", zap.Error(err))
			}
		}
	}
}

func (s *roomSyncs) sync(ctx context.Context, room string) error {
	a := s.app
	members, err := a.node.SyncRoom(ctx, room)
	if err != nil {
		return err
	}
	var unknown []int64
	for _, fd := range members {
		c := a.hub.Get(fd)
		if c == nil {
			unknown = append(unknown, fd)
			continue
		}
		if c.InRoom(room) {
			continue
		}
		if err := s.adopt(ctx, c, room); err != nil {
			return err
		}
	}
	stale, err := a.node.Dead(ctx, unknown)
	if err != nil {
		return err
	}
	for _, fd := range stale {
		a.node.Stale(fd, room)
	}
	return nil
}

// adopt joins a connection that the Redis set names as a member: a back end put it there, unless it has just left and the
// set does not know yet. So: once all that was left before is in Redis, is it still named, and has it left nothing since?
func (s *roomSyncs) adopt(ctx context.Context, c *hub.Conn, room string) error {
	a := s.app
	return a.sessions.Adopt(ctx, c, room, func() (bool, error) {
		if err := a.node.Flush(ctx); err != nil {
			return false, err
		}
		return a.stores.Cluster.SIsMember(ctx, a.deps.Prefix+room, c.FD).Result()
	})
}
