package hub

import (
	"net"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

// outbox writes frames to one connection. It is guarded by Conn.mu.
//
// A write is tried at once in the caller's goroutine, without blocking. Only what the kernel does
// not accept is queued, and a writer goroutine lives only while something is queued.
type outbox struct {
	c *Conn
	queue
	writing bool          // a writer goroutine runs
	away    bool          // there is no socket; Polled.Take reads the queue
	corked  bool          // replies of one read batch are collected and leave together
	flushed chan struct{} // closed by the writer when it has ended
}

// Send queues an encoded frame, which may be shared by many connections, and returns at once.
// ErrSlow means that the outbox is full and the connection is being closed, ErrClosed that it was
// closed before.
func (c *Conn) Send(f wire.Frame) error {
	if c.Page != nil {
		if f = c.Page.in(f, &c.hub.cfg.Pages); len(f.Bytes) == 0 {
			return nil
		}
	}
	return c.out.send(f.Bytes, f.Count, true, f.Handling)
}

// SendAll queues any number of frames as one write. They count as one frame in the outbox's limit,
// so that a reconnecting phone can receive a long history.
func (c *Conn) SendAll(frames []wire.Frame) {
	var b []byte
	n := 0
	for _, f := range frames {
		f = c.Page.in(f, &c.hub.cfg.Pages)
		b, n = append(b, f.Bytes...), n+f.Count
	}
	c.msgsOut.Add(int64(n) - 1)
	_ = c.out.send(b, 1, true, nil) // slow or gone: its close path is running
}

// SendText sends buf[Headroom:] as one text frame. buf may be reused when it returns.
func (c *Conn) SendText(buf []byte) error {
	if c.Page != nil {
		return c.Send(wire.TextFrame(buf[wire.Headroom:]))
	}
	return c.out.send(wire.Encode(buf, wire.OpText), 1, false, nil)
}

// Binary reports whether the message being handled is binary, and so not checked for UTF-8. It may
// be called in Handler.Message only.
func (c *Conn) Binary() bool { return c.in.binary }

// Echo sends data as the type of the message being handled, text or binary. It may be called in
// Handler.Message only, and serves protocol conformance tests.
func (c *Conn) Echo(data []byte) error {
	op := byte(wire.OpText)
	if c.in.binary {
		op = wire.OpBinary
	}
	return c.out.send(wire.Encode(append(make([]byte, wire.Headroom, wire.Headroom+len(data)), data...), op), 1, true, nil)
}

// send applies the limits to all frames but control frames, then writes or queues them.
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
			o.flush() // corked replies do not make the peer slow
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
		c.mover.Relay(c.FD, b, frames, x, shared) // and queue it, since the move may fail
	}
	if x.Droppable() && len(o.chunks) > 0 {
		if x.Class == wire.Latest && o.replace(b, frames, x) {
			c.hub.totals.dropped.Add(1)
			return nil
		}
		// Droppable frames may fill a quarter of the outbox, so that they are never very late.
		o.makeRoom(len(b), frames, load{limit.bytes / 4, limit.frames / 4})
	}
	o.push(b, frames, shared, x)
	if c.state != open {
		return ErrClosed
	}
	return nil
}

// SendTo sends the frame to those connections that it does not exclude, and returns how many
// accepted it.
func SendTo(conns []*Conn, f wire.Frame) int {
	n, told := 0, f
	for _, c := range conns {
		g := f
		if c.Page != nil {
			if told.Dialect != c.Page.Version() {
				told = c.hub.cfg.Pages.in(f, c.Page.Version())
			}
			g = told
		}
		if !f.Excludes(c.FD) && c.Send(g) == nil {
			n++
		}
	}
	return n
}

// makeRoom calls queue.makeRoom and counts the frames that were dropped.
func (o *outbox) makeRoom(bytes, frames int, limit load) bool {
	ok, dropped := o.queue.makeRoom(bytes, frames, limit)
	o.c.hub.totals.dropped.Add(int64(dropped))
	return ok
}

// control sends a control frame, unless OutboxBytes wait already. Control frames do not count
// against OutboxMessages, since the peer causes at most one by each rate-limited frame of its own.
func (o *outbox) control(b []byte) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.controlLocked(b)
}

// ping provokes a sign of life. Without a socket that is a poll, which a Noop ends.
func (o *outbox) ping() {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	if o.away {
		o.controlLocked(wire.TextFrame([]byte{'6'}).Bytes)
		return
	}
	o.controlLocked(wire.ControlFrame(wire.OpPing, nil))
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
	if !o.writing && !o.corked && !o.held && !o.away && len(o.chunks) == 0 {
		n, err := c.sock.tryWrite(b)
		if err != nil {
			o.broken()
			return
		}
		if n == len(b) {
			return
		}
		if n > 0 {
			b, x = b[n:], nil // a frame that was written in part cannot be dropped
		}
	}
	o.add(b, frames, shared, x)
	switch {
	case o.away:
		c.Page.wake()
	case !o.corked && !o.writing && !o.held:
		o.startWriter()
	}
}

// respond writes the handshake's response. What the kernel does not accept is queued before all
// frames. c.mu is held.
func (o *outbox) respond(b []byte) error {
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

func (o *outbox) startWriter() {
	o.writing = true
	o.c.sock.pollable()
	go o.writeLoop()
}

// broken gives up a socket that cannot be written any more. The reader runs the close path. c.mu is
// held.
func (o *outbox) broken() {
	c := o.c
	o.drop()
	if c.state == open {
		c.end(wire.CloseAbnormal, "")
	}
	c.endDone() // also for a moved connection whose action runs here
	c.sock.cut()
	signal(c)
}

// writeLoop writes until the queue is empty. A peer that accepts nothing for WriteTimeout is cut.
func (o *outbox) writeLoop() {
	c := o.c
	defer func() {
		if v := recover(); v != nil { // not expected; a fault here must not end the process
			c.hub.cfg.Log.Error("panic in the writer", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			c.abort()
		}
	}()
	var store net.Buffers
	for {
		c.mu.Lock()
		bufs, taken, holds := store[:0], []chunk(nil), o.holds
		if !o.held {
			bufs, taken = o.dequeue(bufs)
		}
		if len(bufs) == 0 {
			o.writing = false
			if o.flushed != nil && !o.held {
				close(o.flushed)
				o.flushed = nil
			}
			c.mu.Unlock()
			return
		}
		// Set under the lock, so that it cannot replace the past deadline of a freeze.
		err := c.sock.armWrite(c.hub.cfg.WriteTimeout)
		c.mu.Unlock()
		store = bufs
		var n int64
		if err == nil {
			n, err = c.sock.writeBuffers(bufs)
		}
		c.mu.Lock()
		o.bytes = max(0, o.bytes-int(n))
		switch {
		case err == nil, isTimeout(err) && o.mayWrite(n, holds):
			o.putBack(taken, int(n))
		default:
			if c.state == open && isTimeout(err) {
				c.hub.totals.slow.Add(1)
				c.closedHere = true
				c.end(wire.CloseSlow, "slow")
			}
			o.broken()
		}
		o.extra = o.extra.atMost(o.load)
		c.mu.Unlock()
		clear(store)
		clear(taken)
	}
}

// mayWrite reports whether the writer goes on after a write of n bytes that timed out. It does if a
// freeze has caused the timeout, or if there was progress and the connection is not closing. c.mu
// is held.
func (o *outbox) mayWrite(n int64, holds int32) bool {
	return !o.c.sock.cutOff && (o.holds != holds || n > 0 && o.c.state == open)
}

// cork collects replies until all frames that arrived together are dispatched. The hub uncorks
// after 2 ms, so that a slow action does not delay the replies before it.
func (o *outbox) cork() {
	o.c.mu.Lock()
	fresh := !o.corked && o.c.state == open
	if fresh {
		o.corked = true
	}
	o.c.mu.Unlock()
	if fresh {
		o.c.hub.corks.add(o)
	}
}

// uncork writes what cork has collected. ended reports whether the connection is closing.
func (o *outbox) uncork() (ended bool) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	if o.corked {
		o.flush()
	}
	return o.c.state >= closing
}

// flush ends a cork. c.mu is held.
func (o *outbox) flush() {
	o.corked = false
	if o.writing || o.held || len(o.chunks) == 0 {
		return
	}
	if len(o.chunks) == 1 {
		first := o.chunks[0].b
		n, err := o.c.sock.tryWrite(first)
		if err != nil {
			o.broken()
			return
		}
		if n == len(first) {
			o.drop()
			return
		}
		o.bytes -= n
		o.begin(n)
	}
	o.startWriter()
}

// corks are the connections whose replies wait for the end of a batch. A goroutine runs while there
// are any.
type corks struct {
	interval time.Duration

	mu      sync.Mutex
	list    []*outbox
	running bool
}

func (k *corks) add(o *outbox) {
	k.mu.Lock()
	k.list = append(k.list, o)
	start := !k.running
	k.running = true
	k.mu.Unlock()
	if start {
		go k.run()
	}
}

func (k *corks) run() {
	var list []*outbox
	for {
		time.Sleep(k.interval)
		k.mu.Lock()
		list, k.list = k.list, list[:0]
		if len(list) == 0 {
			k.running = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		for i, o := range list {
			o.uncork()
			list[i] = nil
		}
	}
}
