package session

import (
	"context"
	"encoding/json"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
)

// handle registers f for questions about connections of this node.
func handle[Q, A any](ss *Sessions, op ask.Op[Q, A], f func(c *hub.Conn, q Q) (A, error)) {
	ask.Handle(ss.cfg.Nodes, op, func(fd int64, q Q) ask.Answer[A] {
		c := ss.cfg.Hub.Get(fd)
		if c == nil || c.ClosingSoon() {
			return ask.Answer[A]{}
		}
		v, err := f(c, q)
		return ask.Answer[A]{Found: true, Value: v, Err: err}
	})
}

// handleQuestions registers the handlers of this node.
func (ss *Sessions) handleQuestions() {
	handle(ss, opJoin, func(c *hub.Conn, q joinQuestion) (none, error) {
		return none{}, ss.joinAsked(c, q.Room, Joining{q.Announce, q.Kept})
	})
	ask.HandleSlow(ss.cfg.Nodes, opJoin, func(fd int64, q joinQuestion) bool {
		c := ss.cfg.Hub.Get(fd)
		return c != nil && Of(c).awaits(q.Room) // missed messages are read from Redis first
	}, func(fd int64, q joinQuestion) ask.Answer[none] {
		c := ss.cfg.Hub.Get(fd)
		if c == nil {
			return ask.Answer[none]{}
		}
		ctx, cancel := context.WithTimeout(context.Background(), remoteJoinTime)
		defer cancel()
		return ask.Answer[none]{Found: true, Err: ss.Join(ctx, c, q.Room, Joining{q.Announce, q.Kept})}
	})
	ask.HandleLater(ss.cfg.Nodes, opJoin, func(fd int64, q joinQuestion) bool {
		c := ss.cfg.Hub.Get(fd)
		return c != nil && !Of(c).awaits(q.Room) && !ss.cfg.Interest.Wanted(q.Room)
	}, func(fd int64, q joinQuestion) ask.Answer[none] {
		c := ss.cfg.Hub.Get(fd)
		if c == nil || c.ClosingSoon() {
			return ask.Answer[none]{}
		}
		ctx, cancel := context.WithTimeout(context.Background(), remoteJoinTime)
		defer cancel()
		return ask.Answer[none]{Found: true, Err: ss.Join(ctx, c, q.Room, Joining{q.Announce, q.Kept})}
	})
	handle(ss, opLeave, func(c *hub.Conn, q roomQuestion) (none, error) { ss.Leave(c, q.Room); return none{}, nil })
	handle(ss, opLeaveAll, func(c *hub.Conn, _ none) (none, error) {
		for _, room := range c.Rooms() {
			ss.Leave(c, room)
		}
		return none{}, nil
	})
	handle(ss, opBind, func(c *hub.Conn, q uidQuestion) (none, error) { return none{}, ss.Bind(c, q.UID) })
	handle(ss, opUnbind, func(c *hub.Conn, q uidQuestion) (none, error) { ss.Unbind(c, q.UID); return none{}, nil })
	handle(ss, opGet, func(c *hub.Conn, _ none) (map[string]json.RawMessage, error) { return Of(c).Values(), nil })
	handle(ss, opSet, func(c *hub.Conn, q valuesQuestion) (none, error) { return none{}, ss.Change(c, q.Values, q.Merge) })
	handle(ss, opAddKey, func(c *hub.Conn, q nameQuestion) (none, error) { return none{}, ss.AddCloseKey(c, q.Name) })
	handle(ss, opRemoveKey, func(c *hub.Conn, q nameQuestion) (none, error) { ss.RemoveCloseKey(c, q.Name); return none{}, nil })
	handle(ss, opAddListener, func(c *hub.Conn, q nameQuestion) (none, error) { return none{}, ss.AddListener(c, q.Name) })
	handle(ss, opRemoveListener, func(c *hub.Conn, q nameQuestion) (none, error) { ss.RemoveListener(c, q.Name); return none{}, nil })
}

// JoinFD is Join for a connection of any node.
func (ss *Sessions) JoinFD(ctx context.Context, fd int64, room string, j Joining) error {
	if ss.cfg.Hub.Get(fd) != nil { // else its node waits
		defer ss.cfg.Interest.Want(ctx, room)()
	}
	_, err := ask.One(ctx, ss.cfg.Nodes, opJoin, fd, joinQuestion{room, j.Announce, j.Kept})
	return err
}

// LeaveFD is Leave for a connection of any node. It is no error when the connection is not a
// member.
func (ss *Sessions) LeaveFD(ctx context.Context, fd int64, room string) error {
	_, err := ask.One(ctx, ss.cfg.Nodes, opLeave, fd, roomQuestion{room})
	return err
}

// LeaveAllFD takes a connection out of all its rooms.
func (ss *Sessions) LeaveAllFD(ctx context.Context, fd int64) error {
	_, err := ask.One(ctx, ss.cfg.Nodes, opLeaveAll, fd, none{})
	return err
}

// BindFD is Bind for a connection of any node.
func (ss *Sessions) BindFD(ctx context.Context, fd int64, uid string) error {
	_, err := ask.One(ctx, ss.cfg.Nodes, opBind, fd, uidQuestion{uid})
	return err
}

// UnbindFD is Unbind for a connection of any node.
func (ss *Sessions) UnbindFD(ctx context.Context, fd int64, uid string) error {
	_, err := ask.One(ctx, ss.cfg.Nodes, opUnbind, fd, uidQuestion{uid})
	return err
}

// ValuesFD returns the Values of a connection of any node.
func (ss *Sessions) ValuesFD(ctx context.Context, fd int64) (map[string]json.RawMessage, error) {
	return ask.One(ctx, ss.cfg.Nodes, opGet, fd, none{})
}

// ChangeFD is Change for a connection of any node.
func (ss *Sessions) ChangeFD(ctx context.Context, fd int64, values map[string]any, merge bool) error {
	raw, err := Encode(values)
	if err != nil {
		return err
	}
	if sizeOf(raw) > maxSize {
		return ErrSize
	}
	_, err = ask.One(ctx, ss.cfg.Nodes, opSet, fd, valuesQuestion{merge, raw})
	return err
}
