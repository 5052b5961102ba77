package hub

import "wsframe/framework/internal/wire"

// outbox is what waits to be written to one connection. It is guarded by Conn.mu.
//
// A write is tried at once in the caller's goroutine, without blocking; only what the kernel does not take is queued,
// and a writer goroutine lives only while something is queued.
type outbox struct {
	c *Conn
	queue
	writing bool          // the writer goroutine lives
	corked  bool          // replies of one read batch are collected and leave together
	flushed chan struct{} // closed by the writer when it has ended
}

// Send queues an encoded frame, which may be shared by many connections, and returns at once. ErrSlow means that the
// outbox is full and the connection is being closed; ErrClosed that it was closed before.
func (c *Conn) Send(f wire.Frame) error { return c.out.send(f.Bytes, f.Count, true, f.Handling) }

// SendAll queues frames as one write, whatever there is, and as one frame for the outbox's limit: a phone that comes back is slow enough.
func (c *Conn) SendAll(frames []wire.Frame) {
	var b []byte
	n := 0
	for _, f := range frames {
		b, n = append(b, f.Bytes...), n+f.Count
	}
	c.msgsOut.Add(int64(n) - 1)
	_ = c.out.send(b, 1, true, nil) // slow or gone: its close path is running
}

// SendText sends buf[Headroom:] as one text frame; buf may be reused when it returns.
func (c *Conn) SendText(buf []byte) error {
	return c.out.send(wire.Encode(buf, wire.OpText), 1, false, nil)
}

// Binary tells whether the message that is being handled came as binary: whether it is UTF-8 was not looked at then. It belongs into
// Handler.Message, as Echo does.
func (c *Conn) Binary() bool { return c.in.binary }

// Echo sends data back in the form in which the message that is being handled came, text or binary. It belongs into
// Handler.Message; protocol conformance tests are what it is for.
func (c *Conn) Echo(data []byte) error {
	op := byte(wire.OpText)
	if c.in.binary {
		op = wire.OpBinary
	}
	return c.out.send(wire.Encode(append(make([]byte, wire.Headroom, wire.Headroom+len(data)), data...), op), 1, true, nil)
}

// send is the way of all frames but control frames.
func (o *outbox) send(b []byte, frames int, shared bool, x *wire.Handling) error {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved {
		c.mover.Relay(c.FD, b, frames, x, shared)
		return nil
	}
	if c.state != open {
		return ErrClosed
	}
	if len(b) > c.hub.cfg.OutboxBytes {
		return ErrTooLarge
	}
	limit := o.limit(c.hub.cfg.outbox())
	if !o.plus(len(b), frames).fits(limit) {
		if o.corked && !o.writing {
			o.flush() // corked replies are not the peer's fault
		} else if !o.makeRoom(len(b), frames, limit) {
			if x.Droppable() {
				c.hub.totals.dropped.Add(int64(frames))
				return nil
			}
			c.closeLocked(wire.CloseSlow, "slow")
			return ErrSlow
		}
	}
	if c.exported {
		c.mover.Relay(c.FD, b, frames, x, shared) // and keep it, should the move fail
	}
	if x.Droppable() && len(o.chunks) > 0 {
		if x.Class == wire.Latest && o.replace(b, frames, x) {
			c.hub.totals.dropped.Add(1)
			return nil
		}
		// What may be dropped is not worth a long wait: it gets a quarter of the outbox.
		o.makeRoom(len(b), frames, load{limit.bytes / 4, limit.frames / 4})
	}
	o.push(b, frames, shared, x)
	if c.state != open {
		return ErrClosed
	}
	return nil
}

// SendTo sends the frame to the connections that it does not exclude, and counts those that took it.
func SendTo(conns []*Conn, f wire.Frame) int {
	n := 0
	for _, c := range conns {
		if !f.Excludes(c.FD) && c.Send(f) == nil {
			n++
		}
	}
	return n
}

// makeRoom is queue's, and counts what it drops.
func (o *outbox) makeRoom(bytes, frames int, limit load) bool {
	ok, dropped := o.queue.makeRoom(bytes, frames, limit)
	o.c.hub.totals.dropped.Add(int64(dropped))
	return ok
}

// control sends a control frame past the limits of the outbox: there is at most one for each frame of the peer's, and those
// are rate-limited, but a peer that pings without reading must not make it grow either.
func (o *outbox) control(b []byte) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.controlLocked(b)
}

func (o *outbox) controlLocked(b []byte) {
	if o.c.state != open || o.c.exported || o.bytes+len(b) > o.c.hub.cfg.OutboxBytes {
		return
	}
	o.push(b, 0, false, nil)
}

// push writes or queues b. c.mu is held.
func (o *outbox) push(b []byte, frames int, shared bool, x *wire.Handling) {
	c := o.c
	c.msgsOut.Add(int64(frames))
	c.bytesOut.Add(int64(len(b)))
	if !o.writing && !o.corked && !o.held && len(o.chunks) == 0 {
		n, err := c.sock.tryWrite(b)
		if err != nil {
			o.broken()
			return
		}
		if n == len(b) {
			return
		}
		if n > 0 {
			b, x = b[n:], nil // what has begun must be ended
		}
	}
	o.add(b, frames, shared, x)
	if !o.corked && !o.writing && !o.held {
		o.startWriter()
	}
}

// answer writes the handshake's answer. What a full kernel leaves of it is queued in front of all frames: nobody waits for it here.
// c.mu is held.
func (o *outbox) answer(b []byte) error {
	n, err := o.c.sock.tryWrite(b)
	if err != nil {
		return err
	}
	if b = b[n:]; len(b) > 0 {
		o.chunks = append(o.chunks, chunk{b: b})
		o.bytes += len(b)
		o.startWriter()
	}
	return nil
}
