package hub

import "wsframe/framework/internal/wire"

// States of a connection's reader.
const (
	readerListening int32 = iota // reads, or waits for bytes
	readerActing                 // runs an action, or has not started in this process
	readerAssisted               // acting, while housekeeping reads ahead
)

// aheadBytes is about how much is read ahead during an action.
const aheadBytes = 4 * readSize

// lookAhead reads without waiting while the reader runs an action. So the end of the connection is
// noticed, pings are answered and any byte counts as a sign of life. Messages wait for the reader,
// in their order. The result is false where nothing could be read.
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
	case c.moved || c.out.held: // the bytes belong, or may belong, to another process
		in.noteHangUp()
		return false
	case !in.reader.CompareAndSwap(readerActing, readerAssisted):
		return true // the action has ended
	}
	in.ahead()
	in.reader.Store(readerActing)
	return readsNow
}

// Ping sends a ping, in addition to those of housekeeping. It is safe for concurrent use.
func (c *Conn) Ping() { c.out.control(wire.ControlFrame(wire.OpPing, nil)) }

// BytesReceived returns the number of bytes that came from the peer, also while its own action
// runs. known is false where more may have come: the connection is frozen or has moved, or reading
// ahead has reached its limit. It is safe for concurrent use.
func (c *Conn) BytesReceived() (bytes int64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known = c.in.reader.Load() != readerActing || c.in.lookAheadLocked() && !c.in.aheadFull
	return c.bytesIn.Load(), known && !c.out.held && !c.moved
}

// endAction makes the reader listen again after an action that began at from, in seconds of
// Hub.clock. It waits for a read ahead that is under way. The action's time counts against no limit
// of the peer.
func (in *inbound) endAction(from int64) {
	c := in.c
	now := c.hub.clock.seconds.Load()
	if elapsed := now - from; elapsed > 0 {
		c.lastIn.Store(min(now, c.lastIn.Load()+elapsed))
		if c.messageFrom.Load() != 0 {
			c.messageFrom.Add(elapsed)
		}
	}
	if !in.reader.CompareAndSwap(readerActing, readerListening) {
		c.mu.Lock()
		in.reader.Store(readerListening)
		c.mu.Unlock()
	}
}

// noteHangUp closes Done if the peer has closed its side. c.mu is held.
func (in *inbound) noteHangUp() {
	c := in.c
	if c.sock.hungUp() {
		c.endDone()
	}
}

// ahead reads for the reader, whose state belongs to housekeeping meanwhile. c.mu is held.
func (in *inbound) ahead() {
	c := in.c
	in.control = in.aheadControl
	defer func() { in.control = nil }()
	in.aheadFull = false
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
	in.aheadFull = true
	// Pongs may wait after the unread bytes. The kernel notices a dead peer by our unacknowledged
	// pings.
	c.lastIn.Store(c.hub.clock.seconds.Load())
	in.noteHangUp()
}

// aheadControl handles a control frame ahead of the messages before it. A frame that is taken never
// reaches gws. c.mu is held.
func (in *inbound) aheadControl(h wire.Header, raw []byte) (taken bool) {
	c := in.c
	switch h.Op {
	case wire.OpPing:
		c.out.controlLocked(wire.ControlFrame(wire.OpPong, h.Unmask(raw)))
	case wire.OpClose:
		c.endDone() // the reader answers the frame after the messages before it
		return false
	}
	return true
}
