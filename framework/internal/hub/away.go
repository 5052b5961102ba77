package hub

import "wsframe/framework/internal/wire"

// Where a connection's reader is.
const (
	listening int32 = iota // it reads, or waits for bytes
	away                   // it runs an action, or has not begun to read in this process
	looking                // it is away, and housekeeping reads what has come
)

// aheadBytes is about how much is read while the reader is away.
const aheadBytes = 4 * readSize

// lookAhead reads what came while the reader is away, without waiting: the end of the connection is seen, pings are answered, and what
// shows that the peer lives counts. Frames wait for the reader in their order. It tells whether it could look.
func (in *inbound) lookAhead() bool {
	c := in.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return in.lookAheadLocked()
}

func (in *inbound) lookAheadLocked() bool {
	c := in.c
	switch {
	case c.state != open || c.ended:
		return false
	case c.moved || c.out.held: // its bytes are another process's, or may be
		in.mindHangUp()
		return false
	case !in.where.CompareAndSwap(away, looking):
		return true // it is back
	}
	in.ahead()
	in.where.Store(away)
	return readsNow
}

// Ping asks the peer for a sign of life, beside the pings of housekeeping. Safe for concurrent use.
func (c *Conn) Ping() { c.out.control(wire.ControlFrame(wire.OpPing, nil)) }

// Heard counts the bytes that came from the peer, also while its own action runs. Without known it cannot be told whether more have
// come: the connection is frozen or has moved, or so much came during an action that nobody looks further. Safe for concurrent use.
func (c *Conn) Heard() (bytes int64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known = c.in.where.Load() != away || c.in.lookAheadLocked() && !c.in.brimful
	return c.bytesIn.Load(), known && !c.out.held && !c.moved
}

// back ends the reader's absence, which began at from. It waits for a look that is under way. No clock runs against the peer for the
// time between.
func (in *inbound) back(from int64) {
	c := in.c
	now := c.hub.clock.seconds.Load()
	if passed := now - from; passed > 0 {
		c.lastIn.Store(min(now, c.lastIn.Load()+passed))
		if c.messageFrom.Load() != 0 {
			c.messageFrom.Add(passed)
		}
	}
	if !in.where.CompareAndSwap(away, listening) {
		c.mu.Lock()
		in.where.Store(listening)
		c.mu.Unlock()
	}
}

// mindHangUp closes Done when the peer has closed its side. c.mu is held.
func (in *inbound) mindHangUp() {
	c := in.c
	if c.sock.hungUp() {
		c.endDone()
	}
}

// ahead is lookAhead's part of the reader's state. c.mu is held.
func (in *inbound) ahead() {
	c := in.c
	in.control = in.aheadControl
	defer func() { in.control = nil }()
	in.brimful = false
	for in.fault.Code == 0 && len(in.buf)-in.off < aheadBytes {
		data, pooled, err := c.sock.readNow()
		if err != nil {
			c.endDone()
		}
		if data == nil {
			return
		}
		in.arrived(len(data))
		in.receive(data)
		readPool.Put(pooled)
		in.watch()
		if c.ended || c.state != open {
			return
		}
	}
	in.brimful = true
	// What shows that the peer lives may come later. The kernel finds a peer that is dead by our pings.
	c.lastIn.Store(c.hub.clock.seconds.Load())
	in.mindHangUp()
}

// aheadControl deals with a control frame whose turn has not come; taken = it is to be forgotten. c.mu is held.
func (in *inbound) aheadControl(h wire.Header, raw []byte) (taken bool) {
	c := in.c
	switch h.Op {
	case wire.OpPing:
		c.out.controlLocked(wire.ControlFrame(wire.OpPong, h.Unmask(raw)))
	case wire.OpClose:
		c.endDone() // the reader answers it, after what came before
		return false
	}
	return true
}
