// Package roomsync compares the members of a room on this node with the room's Redis set.
//
// Back ends may add fds to the set, whose connections join here, and fds of connections that are
// gone are removed from the set (contract §4).
//
// A publish to a room causes a comparison, at most one in ten seconds, and does not wait for it.
// A room that finds the queue full gets its turn with a later publish. A Syncer is safe for
// concurrent use.
package roomsync

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
)

// Cluster is what Redis has of rooms and connections (package cluster).
type Cluster interface {
	// SyncRoom gives the room's set.
	SyncRoom(ctx context.Context, room string) (members []int64, err error)
	// Dead gives those of the connections that no node has.
	Dead(ctx context.Context, fds []int64) (dead []int64, err error)
	// Stale has the fd of a dead connection removed from the room's set. It does not wait.
	Stale(fd int64, room string)
	// Flush waits until Redis has what this node had to write.
	Flush(ctx context.Context) error
}

// Sessions changes the connections of this node (package session).
type Sessions interface {
	// Adopt joins a connection to the room if named still says so, and it has left none meanwhile.
	Adopt(ctx context.Context, c *hub.Conn, room string, named func() (bool, error)) error
}

// Config of a Syncer.
type Config struct {
	Hub      *hub.Hub
	Sessions Sessions
	Cluster  Cluster
	// IsMember asks Redis whether the room's set has the connection.
	IsMember func(ctx context.Context, room string, fd int64) (bool, error)
	Log      *zap.Logger
}

// Syncer is made by New.
type Syncer struct {
	cfg   Config
	queue chan string
	stop  context.CancelFunc
	done  chan struct{}

	mu   sync.Mutex           // a leaf
	last map[string]time.Time // of the last comparison, by room
}

const (
	syncEvery = 10 * time.Second // the time between two comparisons of a room
	maxQueue  = 256              // rooms that wait for their comparison
	maxLast   = 10_000           // rooms whose last comparison is remembered
)

// New starts a Syncer.
func New(cfg Config) *Syncer {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Syncer{cfg: cfg, queue: make(chan string, maxQueue), stop: cancel, done: make(chan struct{}), last: map[string]time.Time{}}
	go s.run(ctx)
	return s
}

// Close ends the comparison that is under way.
func (s *Syncer) Close() {
	s.stop()
	<-s.done
}

// Published has the room compared soon, unless that was done lately. It does not wait.
func (s *Syncer) Published(room string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last[room]) < syncEvery {
		return
	}
	if len(s.last) > maxLast {
		clear(s.last)
	}
	select {
	case s.queue <- room:
		s.last[room] = now
	default:
	}
}

// run compares one room after the other.
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

// sync compares one room.
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

// adopt joins a connection that the room's set has. A back end has added it, unless it has just
// left and the set does not show that yet: so this node's own changes are written first, then the
// set is asked again.
func (s *Syncer) adopt(ctx context.Context, c *hub.Conn, room string) error {
	return s.cfg.Sessions.Adopt(ctx, c, room, func() (bool, error) {
		if err := s.cfg.Cluster.Flush(ctx); err != nil {
			return false, err
		}
		return s.cfg.IsMember(ctx, room, c.FD)
	})
}
