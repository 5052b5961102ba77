package roomsync_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/auth"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/nodetest"
	"wsframe/framework/internal/roomsync"
)

// store is a Redis with one set for all rooms, and notes what it is asked.
type store struct {
	hub   *nodetest.Hub
	calls nodetest.Calls

	mu      sync.Mutex
	members []int64
	dead    []int64
	fault   error
	gate    chan struct{} // non-nil: it answers when that is closed
}

func (s *store) call(ctx context.Context, format string, args ...any) error {
	s.calls.Note(format, args...)
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

func (s *store) SyncRoom(ctx context.Context, room string) ([]int64, error) {
	err := s.call(ctx, "set %s", room)
	return s.members, err
}

func (s *store) Dead(ctx context.Context, fds []int64) ([]int64, error) {
	err := s.call(ctx, "dead %v", fds)
	return s.dead, err
}

func (s *store) Stale(fd int64, room string) {
	_ = s.call(context.Background(), "stale %d %s", fd, room)
}

func (s *store) Flush(ctx context.Context) error { return s.call(ctx, "flush") }

func (s *store) isMember(ctx context.Context, room string, fd int64) (bool, error) {
	err := s.call(ctx, "member %s %d", room, fd)
	return slices.Contains(s.members, fd), err
}

// Adopt is that of the sessions, without a session.
func (s *store) Adopt(_ context.Context, c *hub.Conn, room string, named func() (bool, error)) error {
	is, err := named()
	if err != nil || !is {
		return err
	}
	_, err = c.Join(room)
	return err
}

func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func start(t *testing.T) (*roomsync.Syncer, *store, *observer.ObservedLogs) {
	s := &store{hub: nodetest.NewHub(t, hub.Config{IdleTimeout: time.Hour})}
	core, logs := observer.New(zapcore.InfoLevel)
	y := roomsync.New(roomsync.Config{Hub: s.hub.Hub, Sessions: s, Cluster: s, IsMember: s.isMember, Notify: func(room string) { s.calls.Note("notify %s", room) }, Log: zap.New(core)})
	t.Cleanup(y.Close)
	return y, s, logs
}

// A connection that a back end has added to the set joins, once this node's own changes are
// written.
func TestConnectionOfTheSetJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, _ := start(t)
		added, member := s.hub.Connect(1, auth.Identity{}, nil), s.hub.Connect(2, auth.Identity{}, nil)
		if _, err := member.Join("R"); err != nil {
			t.Fatal(err)
		}
		s.members = []int64{1, 2}
		y.Published("R", true)
		s.calls.Want(t, "set R", "flush", "member R 1", "dead []")
		if !added.InRoom("R") || len(s.hub.RoomMembers("R")) != 2 {
			t.Error("the connection has not joined")
		}
	})
}

// A connection that has left meanwhile, so that the set does not have it any more, does not join.
func TestConnectionThatHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, _ := start(t)
		c := s.hub.Connect(1, auth.Identity{}, nil)
		s.members, s.gate = []int64{1}, make(chan struct{})
		y.Published("R", true)
		s.calls.Want(t, "set R")
		gate := s.gate
		s.set(func() { s.gate = make(chan struct{}) })
		close(gate)
		s.calls.Want(t, "flush")
		s.set(func() { s.members = nil })
		close(s.gate)
		s.calls.Want(t, "member R 1", "dead []")
		if c.InRoom("R") {
			t.Error("the connection has joined")
		}
	})
}

// Fds of dead connections are removed from the set. Those of other nodes' connections stay.
func TestDeadConnectionsLeaveTheSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, _ := start(t)
		s.members, s.dead = []int64{7, 8, 9}, []int64{7, 9}
		y.Published("R", true)
		s.calls.Want(t, "set R", "notify R", "dead [7 8 9]", "stale 7 R", "stale 9 R")
	})
}

// A node that only delivers what another one has published looks for its own connections, and does
// nothing without any. What it publishes itself is compared with the search for dead ones.
func TestPublishedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, _ := start(t)
		s.members = []int64{1, 7}
		y.Published("R", false)
		s.calls.Want(t)
		c := s.hub.Connect(1, auth.Identity{}, nil)
		y.Published("R", false)
		s.calls.Want(t, "set R", "flush", "member R 1")
		if !c.InRoom("R") {
			t.Error("the connection has not joined")
		}
		y.Published("R", true)
		s.calls.Want(t, "set R", "notify R", "dead [7]")
		y.Published("R", false) // was part of it
		s.calls.Want(t)
	})
}

// A room is compared once in ten seconds, whatever is published, and each room for itself.
func TestOftenPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, _ := start(t)
		for range 10 {
			y.Published("R", true)
			y.Published("S", true)
			synctest.Wait()
		}
		s.calls.Want(t, "set R", "dead []", "set S", "dead []")
		time.Sleep(10*time.Second - 1)
		y.Published("R", true)
		s.calls.Want(t)
		time.Sleep(1)
		y.Published("R", true)
		s.calls.Want(t, "set R", "dead []")
	})
}

// A comparison that Redis does not answer changes nothing, and a later publish tries again.
func TestStoreUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, logs := start(t)
		c := s.hub.Connect(1, auth.Identity{}, nil)
		s.members, s.dead, s.fault = []int64{1, 7}, []int64{7}, errors.New("away")
		y.Published("R", true)
		s.calls.Want(t, "set R")
		if c.InRoom("R") || logs.FilterMessage("room cannot be compared with Redis").Len() != 1 {
			t.Errorf("joined %t, logged %v", c.InRoom("R"), logs.All())
		}
		s.set(func() { s.fault = nil })
		time.Sleep(10 * time.Second)
		y.Published("R", true)
		s.calls.Want(t, "set R", "flush", "member R 1", "notify R", "dead [7]", "stale 7 R")
		if !c.InRoom("R") {
			t.Error("the connection has not joined")
		}
	})
}

// Publishes never wait for a comparison. A room that finds the queue full has not had its turn.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, _ := start(t)
		s.gate = make(chan struct{})
		y.Published("first", true)
		s.calls.Want(t, "set first")
		for i := range 257 {
			y.Published(fmt.Sprint("R", i), true)
		}
		gate := s.gate
		s.set(func() { s.gate = nil })
		close(gate)
		synctest.Wait()
		calls := s.calls.Take()
		if n := len(calls); n != 1+2*256 || calls[n-2] != "set R255" {
			t.Errorf("%d calls, the last ones %q", n, calls[n-2:])
		}
		y.Published("R255", true)
		s.calls.Want(t)
		y.Published("R256", true)
		s.calls.Want(t, "set R256", "dead []")
	})
}

// Close ends a comparison that waits for Redis, and what waits after it; that is no fault to log.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, s, logs := start(t)
		s.gate = make(chan struct{})
		y.Published("R", true)
		s.calls.Want(t, "set R")
		y.Close()
		y.Published("S", true)
		s.calls.Want(t)
		if logs.Len() > 0 {
			t.Errorf("logged %v", logs.All())
		}
	})
}
