package hub

import (
	"fmt"

	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

// Import makes a Conn of the state and the socket of a moved connection. It is in its rooms, and
// frames can be sent at once, which wait until Begin. setup runs before the connection is
// registered.
func (h *Hub) Import(nc Stream, s State, setup func(*Conn) error) (*Conn, error) {
	c := &Conn{Auth: s.Auth, Remote: s.Remote, Since: s.Since, hub: h, Page: importPage(s.Page)}
	c.init(s.FD)
	if err := c.sock.init(nc); err != nil {
		return nil, fmt.Errorf("take over the socket of %d: %w", s.FD, err)
	}
	now := h.cfg.now()
	c.since = h.clock.seconds.Load()
	c.in.reader.Store(readerActing)
	c.lastIn.Store(h.clock.fromWall(now, s.LastIn))
	c.lastPing.Store(h.clock.fromWall(now, s.LastPing))
	c.msgsIn.Store(s.MsgsIn)
	c.msgsOut.Store(s.MsgsOut)
	c.bytesIn.Store(s.BytesIn)
	c.bytesOut.Store(s.BytesOut)
	c.in.deflate = s.Deflate
	c.in.tokens = float64(1 << 30) // the old process has charged these frames
	if len(s.In) > 0 {
		c.in.receive(s.In)
		if c.in.watch(); c.in.timing && s.MessageFrom != 0 {
			c.messageFrom.Store(h.clock.fromWall(now, s.MessageFrom))
		}
	}
	c.in.tokens = s.Tokens
	if err := setup(c); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.state = open
	c.start = func() {
		c.in.endAction(c.since)
		c.in.start(nil)
	}
	c.out.held = true // until Begin, since the old process may still thaw
	c.out.restore(&s, h.cfg.outbox())
	c.mu.Unlock()
	h.inside.Add(1)
	h.add(c)
	for _, name := range s.Rooms {
		if _, err := c.Join(name); err != nil {
			h.cfg.Log.Warn("room of a moved connection", zap.Int64("fd", c.FD), zap.String("room", name), zap.Error(err))
		}
	}
	return c, nil
}

// Begin starts an imported connection: what waits is written, and with read its frames are
// dispatched. Without read an action still runs in the old process; Begin is called again when that
// has ended.
func (c *Conn) Begin(read bool) {
	c.mu.Lock()
	c.out.held = false
	if len(c.out.chunks) > 0 && !c.out.writing {
		c.out.startWriter()
	}
	start := c.start
	if read {
		c.start = nil
	}
	c.mu.Unlock()
	if read && start != nil {
		start()
	}
}

// Discard removes an imported connection that stays in the old process, which also keeps the
// socket.
func (c *Conn) Discard() {
	c.leaveAll()
	c.mu.Lock()
	c.state = closed
	c.out.drop()
	c.sock.close()
	c.mu.Unlock()
	c.hub.remove(c)
	c.hub.inside.Add(-1)
}

// Deliver queues frames that the old process has relayed.
func (c *Conn) Deliver(frames []byte, n int, x *wire.Handling) { _ = c.out.send(frames, n, true, x) }
