package session

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/room"
)

// remoteJoinTime limits a join that another node asks for and that first reads missed messages.
const remoteJoinTime = 5 * time.Second

// Joining holds the options of a Join.
type Joining struct {
	Announce bool // the room's members are notified
	Kept     bool // the client wants positions, though no rule has pushes to the room kept
}

// Join puts the connection into the room. If its client has said which position of the room it saw
// last, it first receives the messages that it has missed since.
func (ss *Sessions) Join(ctx context.Context, c *hub.Conn, name string, j Joining) error {
	if err := names.Room(name); err != nil {
		return err
	}
	return ss.JoinAny(ctx, c, name, j)
}

// JoinAny is Join of a room whose name need not be valid. Names of PHP's groups are made of other
// texts (names.EscapeRoom).
//
// Where no room of the same sub-stream has members on this node, the join waits until the node
// reads it: for two or three calls of Redis, at most for the time of one that times out.
func (ss *Sessions) JoinAny(ctx context.Context, c *hub.Conn, name string, j Joining) error {
	defer ss.cfg.Interest.Want(ctx, name)()
	s, here := lock(c)
	if !here {
		err := forward(ctx, ss, opJoin, c, joinQuestion{name, j.Announce, j.Kept})
		if err == nil {
			_, _ = c.Join(name) // so that InRoom shows it; the connection may have ended here
		}
		return err
	}
	p, resumes := s.takeSeen(name)
	var u *room.CatchUp // the connection does not move while there is one
	if resumes && !c.InRoom(name) {
		u = c.CatchUp(name) // nil while another join catches up
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

// enter joins the room and records that for Redis, in order with leaves at the same time. With
// position, the client receives the room's current position. announced reports that an announcement
// became pending. s.mu is held.
func (ss *Sessions) enter(c *hub.Conn, s *Session, name string, j Joining, position bool) (announced bool, err error) {
	join := c.Join
	if position {
		join = func(name string) (bool, error) { return ss.cfg.History.Join(&c.Member, name, j.Kept) }
	}
	fresh, err := join(name)
	if fresh {
		ss.cfg.Cluster().KeyAdded(c.FD, name)
	}
	if _, known := s.announced[name]; err != nil || !j.Announce || known || s.chooseUser(c) == "" {
		return false, err
	}
	s.announce(name, newTicket())
	return true, nil
}

// joinAsked is Join for another node's question, of a room that the node receives (Wanted). It does
// not wait for Redis: a join that reads missed messages goes on in the background.
func (ss *Sessions) joinAsked(c *hub.Conn, name string, j Joining) error {
	if !Of(c).awaits(name) {
		return ss.Join(context.Background(), c, name, j)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), remoteJoinTime)
		defer cancel()
		ss.cfg.Protect("a join from elsewhere", func() {
			if err := ss.Join(ctx, c, name, j); err != nil {
				ss.cfg.Log.Debug("join from elsewhere", zap.Int64("fd", c.FD), zap.Error(err))
			}
		})
	}()
	return nil
}

// Leave takes the connection out of the room, and reports whether it was a member.
func (ss *Sessions) Leave(c *hub.Conn, name string) bool {
	Of(c).leaves.Add(1)
	s, here := lock(c)
	if !here {
		return forward(context.Background(), ss, opLeave, c, roomQuestion{name}) == nil && c.Leave(name)
	}
	defer s.mu.Unlock()
	was := c.Leave(name)
	if was {
		ss.recordLeaving(c, s, name, true)
		ss.cfg.Cluster().KeyRemoved(c.FD, name)
	}
	return was
}

// recordLeaving records for Redis that the connection has left a room that announced it. owned
// tells that no other node may have announced the leaving already. mu is held.
func (ss *Sessions) recordLeaving(c *hub.Conn, s *Session, room string, owned bool) {
	if ticket, ok := s.announced[room]; ok {
		delete(s.announced, room)
		ss.cfg.Leaving(s.present(c, room), ticket == "" && owned)
	}
}

// Ended has the rooms of a connection that has ended announce that it left.
func (ss *Sessions) Ended(c *hub.Conn, rooms []string, owned bool) {
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, room := range rooms {
		ss.recordLeaving(c, s, room, owned)
	}
}

// expect remembers the client's position in a room that it has not joined yet. It reports false
// where it already remembers as many as it may. mu is held.
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

// awaits reports whether a join of the room would first read missed messages.
func (s *Session) awaits(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[name]
	return ok
}

// takeSeen returns and forgets the client's position in the room. mu is held.
func (s *Session) takeSeen(name string) (room.Position, bool) {
	p, ok := s.seen[name]
	delete(s.seen, name)
	return p, ok
}

// ErrRooms is returned where a client wants to recover more rooms than it may.
var ErrRooms = fmt.Errorf("at most %d rooms can be recovered", history.MaxRooms)

// Recover sends the messages of a room that the client has missed since position p. If the
// connection is not in the room yet, p is remembered for its join.
func (ss *Sessions) Recover(ctx context.Context, c *hub.Conn, name string, p room.Position) (history.Recovery, error) {
	pending := history.Recovery{Room: name, Pending: true, Offset: p.Offset, Epoch: p.Epoch}
	s, here := lock(c)
	if !here { // this process does not receive the room's live messages any more
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
	if u == nil { // a join catches up
		return pending, nil
	}
	return ss.cfg.History.CatchUp(ctx, &c.Member, u, &s.recoveries, name, p, nil), nil
}

// Adopt joins a connection that a back end has put into the room's Redis set. named asks Redis
// whether it still is in the set. A connection that leaves a room meanwhile is not joined, since
// the set may be older than that.
func (ss *Sessions) Adopt(ctx context.Context, c *hub.Conn, name string, named func() (bool, error)) error {
	leaves := Of(c).leaves.Load()
	if is, err := named(); err != nil || !is || Of(c).leaves.Load() != leaves {
		return err
	}
	if err := ss.Join(ctx, c, name, Joining{}); err != nil {
		ss.cfg.Log.Debug("join from Redis", zap.Int64("fd", c.FD), zap.Error(err))
	}
	return nil
}
