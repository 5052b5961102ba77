package hub

import "slices"

// Mark is a place in a room's history.
type Mark struct {
	Offset int64
	Epoch  string
}

// catchUp is a member's wait for what it missed of a room. What is published meanwhile is kept back, so that it comes behind;
// afterwards what it has got already may still be on its way here, and does not come again.
type catchUp struct {
	room  string
	kept  []Frame
	bytes int
	until Mark // once caught up: nothing up to it comes again
}

// repeats tells whether f has been got already.
func (u *catchUp) repeats(f Frame) bool {
	return f.x != nil && f.x.Offset > 0 && f.x.Offset <= u.until.Offset && f.x.Epoch == u.until.Epoch
}

// CatchUp keeps back what is published to the room from now on, until CaughtUp, which must follow. It may be called before
// the connection joins: then all that it gets of the room comes behind what it missed. One at a time for one room.
func (c *Conn) CatchUp(room string) {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	c.forget(room)
	c.behind = append(c.behind, &catchUp{room: room})
	c.catchingUp.Add(1)
	c.keeping.Add(1)
}

// CaughtUp sends what was missed, then what was kept back beyond until, in one go. What lies up to until does not come again.
func (c *Conn) CaughtUp(room string, missed []Frame, until Mark) {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	i := c.behindIndex(room)
	if i < 0 {
		return
	}
	u := c.behind[i]
	u.until = until
	all := missed
	for _, f := range u.kept {
		if !u.repeats(f) {
			all = append(all, f)
		}
	}
	u.kept = nil
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
	c.keeping.Add(-1)
	if until.Offset == 0 {
		c.forget(room)
	}
}

// Marks are what does not come again, by room, of those rooms where it may still be on its way.
func (c *Conn) Marks() map[string]Mark {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	var marks map[string]Mark
	for _, u := range c.behind {
		if u.until.Offset > 0 {
			if marks == nil {
				marks = map[string]Mark{}
			}
			marks[u.room] = u.until
		}
	}
	return marks
}

// SetMark has nothing of the room up to the mark come again.
func (c *Conn) SetMark(room string, m Mark) {
	c.CatchUp(room)
	c.CaughtUp(room, nil, m)
}

func (c *Conn) behindIndex(room string) int {
	return slices.IndexFunc(c.behind, func(u *catchUp) bool { return u.room == room })
}

// forget ends what CatchUp began. c.memberMu is held.
func (c *Conn) forget(room string) {
	if i := c.behindIndex(room); i >= 0 {
		c.behind = slices.Delete(c.behind, i, i+1)
		c.catchingUp.Add(-1)
	}
}

// hold keeps a segment back, or what of it has been got already. It tells whether the segment is dealt with.
func (c *Conn) hold(room string, g *segment) bool {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	i := c.behindIndex(room)
	if i < 0 {
		return false
	}
	u := c.behind[i]
	if u.until.Offset == 0 {
		if u.bytes += len(g.b); u.bytes > c.hub.cfg.OutboxBytes {
			c.Close(CloseSlow, "slow")
			return true
		}
		g.each(func(f Frame) { u.kept = append(u.kept, f) })
		return true
	}
	beyond := false
	g.each(func(f Frame) {
		if !u.repeats(f) {
			beyond = beyond || f.x != nil && f.x.Offset > 0
			_ = c.Send(f)
		}
	})
	if beyond { // a room's frames come in order: the rest is new
		c.forget(room)
	}
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
