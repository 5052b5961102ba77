package hub

import "slices"

// catchUp is a member's wait for what it missed of a room: what is published meanwhile is kept back, so that it comes behind.
type catchUp struct {
	room  string
	kept  []Frame
	bytes int
}

// JoinBehind is Join for a connection that is to get something of the room's past first: what is published from now on is kept
// back until CaughtUp, which must follow. fresh tells whether it was not in the room before.
func (h *Hub) JoinBehind(c *Conn, room string) (fresh bool, err error) {
	c.CatchUp(room)
	if fresh, err = h.Join(c, room); err != nil {
		c.CaughtUp(room, nil, 0)
	}
	return fresh, err
}

// CatchUp keeps back what is published to the room from now on, until CaughtUp. It must not be called twice for one room.
func (c *Conn) CatchUp(room string) {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	c.behind = append(c.behind, &catchUp{room: room})
	c.catchingUp.Add(1)
}

// CaughtUp sends what was missed, then what was kept back beyond the position upTo, in one go.
func (c *Conn) CaughtUp(room string, missed []Frame, upTo int64) {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	i := slices.IndexFunc(c.behind, func(u *catchUp) bool { return u.room == room })
	if i < 0 {
		return
	}
	all := missed
	for _, f := range c.behind[i].kept {
		if f.x == nil || f.x.Offset == 0 || f.x.Offset > upTo {
			all = append(all, f)
		}
	}
	if len(all) > 0 {
		// One write, whatever there is: a phone that comes back is slow enough.
		var b []byte
		n := 0
		for _, f := range all {
			b, n = append(b, f.b...), n+f.n
		}
		c.msgsOut.Add(int64(n) - 1)
		_ = c.Send(Frame{b: b, n: 1}) // slow or gone: its close path is running
	}
	c.behind = slices.Delete(c.behind, i, i+1)
	c.catchingUp.Add(-1)
}

// hold keeps a segment back. It tells whether it did.
func (c *Conn) hold(room string, g *segment) bool {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	i := slices.IndexFunc(c.behind, func(u *catchUp) bool { return u.room == room })
	if i < 0 {
		return false
	}
	u := c.behind[i]
	if u.bytes += len(g.b); u.bytes > c.hub.cfg.OutboxBytes {
		c.Close(CloseSlow, "slow")
		return true
	}
	g.each(func(f Frame) { u.kept = append(u.kept, f) })
	return true
}

// LiveFrom is the position in the room's history from which on the connection gets everything; 0 = none was published since
// it joined.
func (c *Conn) LiveFrom(room string) int64 {
	r := c.hub.room(room)
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.place[c]
	switch {
	case !ok, r.first == 0:
		return 0
	case at.last > 0:
		return at.last + 1
	}
	return r.first
}
