package hub

import (
	"bytes"

	"wsframe/framework/internal/wire"
)

// Export returns the state of a frozen connection. From then on what is sent also goes to the
// Mover, and all other changes wait for the channel of Moving. With again the connection is between
// two messages and the caller tries once more. Without ok and again it ends in this process.
func (h *Hub) Export(c *Conn, m Mover, data []byte) (s State, ok, again bool) {
	rooms := c.Rooms()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || c.thaw == nil || c.exported {
		return s, false, false
	}
	busy := c.in.reader.Load() != readerListening && c.start == nil
	if !c.parked && !busy || c.out.writing || c.Keeping() {
		return s, false, true
	}
	c.exported, c.mover = true, m
	in, k, now := &c.in, &h.clock, h.cfg.now()
	in.refill()
	s = State{
		FD: c.FD, Auth: c.Auth, Remote: c.Remote, Since: c.Since, Rooms: rooms, Data: data, Busy: !c.parked, Deflate: c.in.deflate,
		Tokens: in.tokens, LastIn: k.toWall(now, c.lastIn.Load()), LastPing: k.toWall(now, c.lastPing.Load()),
		MsgsIn: c.msgsIn.Load(), MsgsOut: c.msgsOut.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		MessageFrom: k.toWall(now, c.messageFrom.Load()), Page: c.Page.export(),
	}
	if s.Busy {
		// gws has buffered the beginning of what follows. The reader runs an action, and needs c.mu
		// after it.
		if in.br != nil {
			rest, _ := in.br.Peek(in.br.Buffered())
			s.In = bytes.Clone(rest)
		}
		s.In = append(s.In, in.buf[in.off:]...)
	} else {
		s.In = append(bytes.Clone(in.parts), in.buf[in.ready:]...)
	}
	c.out.export(&s)
	return s, true, false
}

// Release gives up all exported connections, which belong to the new process from then on. gone is
// called for each once its action has ended. Connections that were not exported go on here.
func (h *Hub) Release(gone func(fd int64)) (moved int) {
	h.Each(func(c *Conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.moved: // by an earlier Release; the action still runs
			return true
		case c.out.away: // its client connects anew
			c.closeLocked(wire.CloseRestart, "the server was reloaded")
			return true
		case !c.exported:
			c.release()
			return true
		}
		moved++
		c.moved, c.onMoved = true, gone
		c.out.drop()
		close(c.thaw)
		if c.parked && c.in.watched.loop != nil {
			go c.in.conclude()
		}
		return true
	})
	return moved
}
