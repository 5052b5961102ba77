// Package roomsync brings the members of a room on this node and the room's Redis set together: back ends may write to the set, and fds that
// are gone are removed from it (contract §4).
//
// It runs after publishes, at most once in ten seconds for a room, and nothing waits for it: when it is late, a room's turn comes with a
// later publish. A Syncer is safe for concurrent use.
package roomsync

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
)

// Cluster is what Redis has of rooms and connections (package cluster).
type Cluster interface {
	SyncRoom(ctx context.Context, room string) (members []int64, err error)
	Dead(ctx context.Context, fds []int64) (dead []int64, err error)
	Stale(fd int64, room string)
	Flush(ctx context.Context) error
}

// Config of a Syncer.
type Config struct {
	Hub      *hub.Hub
	Sessions *session.Sessions
	Cluster  Cluster
	IsMember func(ctx context.Context, room string, fd int64) (bool, error) // asks the set
	Log      *zap.Logger
}

// Syncer is made by New.
type Syncer struct {
	cfg   Config
	queue chan string
	stop  context.CancelFunc
	done  chan struct{}

	mu   sync.Mutex // a leaf
	last map[string]time.Time
}

const syncEvery = 10 * time.Second

// New starts a Syncer.
func New(cfg Config) *Syncer {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Syncer{cfg: cfg, queue: make(chan string, 256), stop: cancel, done: make(chan struct{}), last: map[string]time.Time{}}
	go s.run(ctx)
	return s
}

// Close ends what is under way.
func (s *Syncer) Close() {
	s.stop()
	<-s.done
}

// Published has the room compared soon, unless it was lately. It does not wait.
func (s *Syncer) Published(room string) {
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

func (s *Syncer) run(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			return
		case room := <-s.queue:
			if err := s.sync(ctx, room); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("room cannot be compared with Redis", zap.Error(err))
			}
		}
	}
}

func (s *Syncer) sync(ctx context.Context, room string) error {
	members, err := s.cfg.Cluster.SyncRoom(ctx, room)
	if err != nil {
		return err
	}
	var unknown []int64
	for _, fd := range members {
		c := s.cfg.Hub.Get(fd)
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
	stale, err := s.cfg.Cluster.Dead(ctx, unknown)
	if err != nil {
		return err
	}
	for _, fd := range stale {
		s.cfg.Cluster.Stale(fd, room)
	}
	return nil
}

// adopt joins a connection that the Redis set names as a member: a back end put it there, unless it has just left and the
// set does not know yet. So: once all that was left before is in Redis, is it still named, and has it left nothing since?
func (s *Syncer) adopt(ctx context.Context, c *hub.Conn, room string) error {
	return s.cfg.Sessions.Adopt(ctx, c, room, func() (bool, error) {
		if err := s.cfg.Cluster.Flush(ctx); err != nil {
			return false, err
		}
		return s.cfg.IsMember(ctx, room, c.FD)
	})
}
