// Package roomsync compares the members of a room on this node with the room's Redis set.
//
// Back ends may add fds to the set, whose connections join here, and fds of connections that are
// gone are removed from the set (contract §4).
//
// A publish to a room causes a comparison on each node, at most one in ten seconds, and does not
// wait for it. Only the node that has published looks for connections that are gone: they concern
// all nodes alike. The others look for their own connections, and those without any do nothing.
//
// Nodes receive pushes only of rooms that have members there. So a node that has published, and
// finds that the set has other connections of other nodes than at its last comparison, tells them.
//
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
	// Notify has the other nodes compare the room (Changed). It does not wait.
	Notify func(room string)
	Log    *zap.Logger
}

// Syncer is made by New.
type Syncer struct {
	cfg   Config
	queue chan comparison
	stop  context.CancelFunc
	done  chan struct{}
	sets  map[string]uint64 // of rooms that were published to here: what their sets had; of run

	mu   sync.Mutex               // a leaf
	last map[comparison]time.Time // when each was begun
}

// comparison is that of one room.
type comparison struct {
	room string
	dead bool // with the search for connections that are gone
}

const (
	syncEvery = 10 * time.Second // the time between two comparisons of a room
	maxQueue  = 256              // rooms that wait for their comparison
	maxLast   = 10_000           // comparisons that are remembered
)

// New starts a Syncer.
func New(cfg Config) *Syncer {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Syncer{cfg: cfg, queue: make(chan comparison, maxQueue), stop: cancel, done: make(chan struct{}), last: map[comparison]time.Time{}, sets: map[string]uint64{}}
	go s.run(ctx)
	return s
}

// Close ends the comparison that is under way.
func (s *Syncer) Close() {
	s.stop()
	<-s.done
}

// Published has the room compared soon, unless that was done lately. sent means that this node has
// published; otherwise it delivers what some node has. It does not wait.
func (s *Syncer) Published(room string, sent bool) {
	if !sent && s.cfg.Hub.Len() == 0 {
		return
	}
	now, what := time.Now(), comparison{room, sent}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last[what]) < syncEvery {
		return
	}
	if len(s.last) > maxLast {
		clear(s.last)
	}
	select {
	case s.queue <- what:
		s.last[what] = now
		s.last[comparison{room, false}] = now // is part of it
	default:
	}
}

// Changed has the room compared soon: another node has seen that its set has changed. It does not
// wait.
func (s *Syncer) Changed(room string) {
	if s.cfg.Hub.Len() == 0 {
		return
	}
	select {
	case s.queue <- comparison{room, false}:
	default:
	}
}

// notify tells the other nodes of a set that has changed. others are its connections that are not
// here, or a number of a connection that has ended.
func (s *Syncer) notify(room string, others []int64) {
	var sum uint64
	for _, fd := range others { // a sum needs no order
		h := uint64(fd) * 0x9e3779b97f4a7c15
		sum += h ^ h>>29
	}
	if s.sets[room] == sum {
		return
	}
	if len(s.sets) > maxLast {
		clear(s.sets)
	}
	s.sets[room] = sum
	s.cfg.Notify(room)
}

// run compares one room after the other.
func (s *Syncer) run(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			return
		case what := <-s.queue:
			if err := s.sync(ctx, what); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("room cannot be compared with Redis", zap.Error(err))
			}
		}
	}
}

// sync compares one room.
func (s *Syncer) sync(ctx context.Context, what comparison) error {
	room := what.room
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
	if !what.dead {
		return nil
	}
	s.notify(room, unknown)
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
