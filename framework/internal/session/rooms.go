package session

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/room"
)

// Joining changes what a Join does.
type Joining struct {
	Announce bool // the room's members hear of it
	Kept     bool // pushes to the room are kept, though no rule says so
}

// Join puts the connection into the room; where its client said what it saw last of it, what it missed comes first.
func (ss *Sessions) Join(ctx context.Context, c *hub.Conn, name string, j Joining) error {
	if err := names.Room(name); err != nil {
		return err
	}
	s, here := ss.lock(c)
	if !here {
		err := forward(ctx, ss, opJoin, c, joinQuestion{name, j.Announce, j.Kept})
		if err == nil {
			_, _ = c.Join(name) // for c.InRoom; it may be gone here
		}
		return err
	}
	p, back := s.takeSeen(name)
	var u *room.CatchUp // while there is one the connection does not move
	if back && !c.InRoom(name) {
		u = c.CatchUp(name) // nil where another join is at it
	}
	j.Announce = j.Announce || ss.cfg.Presence.Covers(name)
	announced, err := ss.enter(c, s, name, j, u == nil)
	s.mu.Unlock()
	switch {
	case u != nil && err != nil:
		u.End(nil, room.Position{})
	case u != nil:
		ss.cfg.History.CatchUp(ctx, &c.Member, u, &s.recoveries, name, p, history.Announce)
	}
	if announced {
		ss.cfg.Presence.Came(c, name)
	}
	return err
}

// enter joins and has it noted. A leave from elsewhere at the same time is noted in the order in which it happened. announced = the
// room is to hear of it, and did not so far. place = the connection is told where the room's history stands. s.mu is held.
func (ss *Sessions) enter(c *hub.Conn, s *Session, name string, j Joining, place bool) (announced bool, err error) {
	join := c.Join
	if place {
		join = func(name string) (bool, error) { return ss.cfg.History.Join(&c.Member, name, j.Kept) }
	}
	fresh, err := join(name)
	if fresh {
		ss.cfg.Cluster().KeyAdded(c.FD, name)
	}
	if _, known := s.announced[name]; err != nil || !j.Announce || known || s.presentAs(c) == "" {
		return false, err
	}
	s.announce(name, newTicket())
	return true, nil
}

// joinRemote is Join for a goroutine that must not wait.
func (ss *Sessions) joinRemote(c *hub.Conn, name string, j Joining) error {
	if !Of(c).awaits(name) {
		return ss.Join(context.Background(), c, name, j)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), joinTime)
		defer cancel()
		ss.cfg.Protect("a join from elsewhere", func() {
			if err := ss.Join(ctx, c, name, j); err != nil {
				ss.cfg.Log.Debug("join from elsewhere", zap.Int64("fd", c.FD), zap.Error(err))
			}
		})
	}()
	return nil
}

// Leave takes the connection out of the name, at once. It tells whether it was in it.
func (ss *Sessions) Leave(c *hub.Conn, name string) bool {
	Of(c).left.Add(1)
	s, here := ss.lock(c)
	if !here {
		return forward(context.Background(), ss, opLeave, c, roomQuestion{name}) == nil && c.Leave(name)
	}
	defer s.mu.Unlock()
	was := c.Leave(name)
	if was {
		ss.leave(c, s, name, true)
		ss.cfg.Cluster().KeyRemoved(c.FD, name)
	}
	return was
}

// expect remembers what the client saw last of a room that it is not in yet. It tells whether there was place for it. mu is held.
func (s *Session) expect(name string, p room.Position) bool {
	if _, known := s.seen[name]; !known && len(s.seen) >= history.MaxRooms {
		return false
	}
	if s.seen == nil {
		s.seen = map[string]room.Position{}
	}
	s.seen[name] = p
	return true
}

// awaits tells whether the client is to get what it missed of the room, when it joins.
func (s *Session) awaits(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[name]
	return ok
}

// takeSeen gives what the client saw last of the room, once. mu is held.
func (s *Session) takeSeen(name string) (room.Position, bool) {
	p, ok := s.seen[name]
	delete(s.seen, name)
	return p, ok
}

// ErrRooms is returned where a client wants to come back to more rooms than it may.
var ErrRooms = fmt.Errorf("at most %d rooms can be recovered", history.MaxRooms)

// Recover sends what the client has missed of a room since it saw last what it says. For a room that it is not in yet it is remembered.
func (ss *Sessions) Recover(ctx context.Context, c *hub.Conn, name string, p room.Position) (history.Recovery, error) {
	pending := history.Recovery{Room: name, Pending: true, Offset: p.Offset, Epoch: p.Epoch}
	s, here := ss.lock(c)
	if !here { // this process does not know what comes live
		return history.Recovery{Room: name, Reason: history.Unavailable, Offset: p.Offset, Epoch: p.Epoch}, nil
	}
	if !c.InRoom(name) {
		defer s.mu.Unlock()
		if !s.expect(name, p) {
			return history.Recovery{}, ErrRooms
		}
		return pending, nil
	}
	u := c.CatchUp(name)
	s.mu.Unlock()
	if u == nil { // a join is at it
		return pending, nil
	}
	return ss.cfg.History.CatchUp(ctx, &c.Member, u, &s.recoveries, name, p, nil), nil
}

// Adopt joins a connection that the room's Redis set names: a back end put it there, unless it has left a room since named was asked. It
// tells whether it did.
func (ss *Sessions) Adopt(ctx context.Context, c *hub.Conn, name string, named func() (bool, error)) error {
	left := Of(c).left.Load()
	if is, err := named(); err != nil || !is || Of(c).left.Load() != left {
		return err
	}
	if err := ss.Join(ctx, c, name, Joining{}); err != nil {
		ss.cfg.Log.Debug("join from Redis", zap.Int64("fd", c.FD), zap.Error(err))
	}
	return nil
}
