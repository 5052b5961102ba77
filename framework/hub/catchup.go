package hub

import (
	"slices"

	"wsframe/framework/internal/wire"
)

// Mark is a place in a room's history.
type Mark struct {
	Offset int64
	Epoch  string
}

// covers tells whether f lies at the mark or before it.
func (m Mark) covers(f wire.Frame) bool {
	return f.Kept() && f.Handling.Offset <= m.Offset && f.Handling.Epoch == m.Epoch
}

// CatchUp is a member's wait for what it missed of a room. What is published meanwhile is kept back, so that it comes behind;
// afterwards what it has got already may still be on its way here, and does not come again.
type CatchUp struct {
	room    string
	keeping bool
	kept    []wire.Frame
	bytes   int
	until   Mark // nothing up to it comes again
}

// CatchUp keeps back what is published to the room from now on, until CaughtUp, which must follow. It may be called before
// the connection joins: then all that it gets of the room comes behind what it missed. It is nil while another one of that room
// runs, which goes on.
func (c *Conn) CatchUp(room string) *CatchUp {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	u := c.behindIn(room)
	switch {
	case u == nil:
		u = &CatchUp{room: room}
		c.behind = append(c.behind, u)
		c.catchingUp.Add(1)
	case u.keeping:
		return nil
	}
	u.keeping = true
	c.keeping.Add(1)
	return u
}

// CaughtUp sends what was missed, then what was kept back beyond until, in one go. What lies up to until does not come again. Where
// the connection has left the room meanwhile, nothing comes.
func (c *Conn) CaughtUp(u *CatchUp, missed []wire.Frame, until Mark) {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	if !u.keeping {
		return
	}
	if until.Offset > 0 && (until.Epoch != u.until.Epoch || until.Offset > u.until.Offset) {
		u.until = until
	}
	all := missed
	for _, f := range u.kept {
		if !u.until.covers(f) {
			all = append(all, f)
		}
	}
	u.kept, u.bytes, u.keeping = nil, 0, false
	if len(all) > 0 {
		// One write, whatever there is: a phone that comes back is slow enough.
		var b []byte
		n := 0
		for _, f := range all {
			b, n = append(b, f.Bytes...), n+f.Count
		}
		c.msgsOut.Add(int64(n) - 1)
		_ = c.Send(wire.Frame{Bytes: b, Count: 1}) // slow or gone: its close path is running
	}
	c.keeping.Add(-1)
	if u.until.Offset == 0 {
		c.forget(u)
	}
}

// Marks are what does not come again, by room, of those rooms where it may still be on its way.
func (c *Conn) Marks() map[string]Mark {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	var marks map[string]Mark
	note := func(room string, m Mark) {
		if m.Offset == 0 {
			return
		}
		if marks == nil {
			marks = map[string]Mark{}
		}
		marks[room] = m
	}
	for _, r := range c.rooms {
		note(r.name, r.given())
	}
	for _, u := range c.behind {
		if m := marks[u.room]; m.Epoch != u.until.Epoch || m.Offset < u.until.Offset {
			note(u.room, u.until)
		}
	}
	return marks
}

// SetMark has nothing of the room up to the mark come again.
func (c *Conn) SetMark(room string, m Mark) {
	if u := c.CatchUp(room); u != nil {
		c.CaughtUp(u, nil, m)
	}
}

// behindIn is what the connection has of CatchUp for a room, or nil. c.memberMu is held.
func (c *Conn) behindIn(room string) *CatchUp {
	if i := slices.IndexFunc(c.behind, func(u *CatchUp) bool { return u.room == room }); i >= 0 {
		return c.behind[i]
	}
	return nil
}

// forget ends what CatchUp began. c.memberMu is held.
func (c *Conn) forget(u *CatchUp) {
	i := slices.Index(c.behind, u)
	if i < 0 {
		return
	}
	c.behind = slices.Delete(c.behind, i, i+1)
	c.catchingUp.Add(-1)
	if u.keeping {
		u.keeping, u.kept = false, nil
		c.keeping.Add(-1)
	}
}

// hold keeps a segment back, or what of it has been got already. It tells whether the segment is dealt with.
func (c *Conn) hold(room string, g *segment) bool {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	u := c.behindIn(room)
	if u == nil {
		return false
	}
	if u.keeping {
		if u.bytes += len(g.Bytes); u.bytes > c.hub.cfg.OutboxBytes/4 { // what was missed takes half of it
			c.Close(wire.CloseSlow, "slow")
			return true
		}
		g.each(func(f wire.Frame) { u.kept = append(u.kept, f) })
		return true
	}
	beyond := false
	g.each(func(f wire.Frame) {
		if !u.until.covers(f) {
			beyond = beyond || f.Kept()
			_ = c.Send(f)
		}
	})
	if beyond { // a room's frames come in order: the rest is new
		c.forget(u)
	}
	return true
}

// LiveFrom is the position in the room's history from which on the connection gets everything; 0 = none was published since
// it joined.
func (c *Conn) LiveFrom(room string) Mark {
	r := c.hub.room(room)
	if r == nil {
		return Mark{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.seats[c]
	switch {
	case !ok, r.first == 0:
		return Mark{}
	case at.last > 0 && at.epochs == r.epochs:
		return Mark{at.last + 1, r.epoch}
	}
	return Mark{r.first, r.epoch}
}
