package hub

import (
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

// outbox is what waits to be written to one connection. It is guarded by Conn.mu.
//
// A write is tried at once in the caller's goroutine, without blocking; only what the kernel does not take is queued,
// and a writer goroutine lives only while something is queued.
type outbox struct {
	queue   []chunk
	bytes   int
	frames  int
	writing bool          // the writer goroutine lives
	corked  bool          // replies of one read batch are collected and leave together
	held    bool          // nothing is written: the connection is being moved
	holds   int           // how often that has begun
	extra   load          // of what waits, what came while it was held
	flushed chan struct{} // closed by the writer when it has ended
}

// load is an amount of frames.
type load struct{ bytes, frames int }

// chunk is a run of complete frames, the first of the queue possibly partly written.
type chunk struct {
	b     []byte
	n     int  // frames
	owned bool // nobody else reads b: more may be appended
	x     *wire.Handling
}

// chunkSize is the space taken for small frames that wait together.
const chunkSize = 2 << 10

// Send queues an encoded frame, which may be shared by many connections, and returns at once. ErrSlow means that the
// outbox is full and the connection is being closed; ErrClosed that it was closed before.
func (c *Conn) Send(f wire.Frame) error { return c.sendAs(f.Bytes, f.Count, true, f.Handling) }

// SendAll queues frames as one write, whatever there is, and as one frame for the outbox's limit: a phone that comes back is slow enough.
func (c *Conn) SendAll(frames []wire.Frame) {
	var b []byte
	n := 0
	for _, f := range frames {
		b, n = append(b, f.Bytes...), n+f.Count
	}
	c.msgsOut.Add(int64(n) - 1)
	_ = c.send(b, 1, true) // slow or gone: its close path is running
}

// SendText sends buf[Headroom:] as one text frame; buf may be reused when it returns.
func (c *Conn) SendText(buf []byte) error { return c.send(wire.Encode(buf, wire.OpText), 1, false) }

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
	return c.send(wire.Encode(append(make([]byte, wire.Headroom, wire.Headroom+len(data)), data...), op), 1, true)
}

func (c *Conn) send(b []byte, frames int, shared bool) error {
	return c.sendAs(b, frames, shared, nil)
}

func (c *Conn) sendAs(b []byte, frames int, shared bool, x *wire.Handling) error {
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
	o := &c.out
	limit := c.limit()
	if o.bytes+len(b) > limit.bytes || o.frames+frames > limit.frames {
		if o.corked && !o.writing {
			c.flush() // corked replies are not the peer's fault
		} else if !c.makeRoom(len(b), frames, limit) {
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
	if x.Droppable() && len(o.queue) > 0 {
		if x.Class == wire.Latest && c.replace(b, frames, x) {
			return nil
		}
		// What may be dropped is not worth a long wait: it gets a quarter of the outbox.
		c.makeRoom(len(b), frames, load{limit.bytes / 4, limit.frames / 4})
	}
	c.pushAs(b, frames, shared, x)
	if c.state != open {
		return ErrClosed
	}
	return nil
}

// control sends a control frame past the limits of the outbox: there is at most one for each frame of the peer's, and those
// are rate-limited, but a peer that pings without reading must not make it grow either.
func (c *Conn) control(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.controlLocked(b)
}

func (c *Conn) controlLocked(b []byte) {
	if c.state != open || c.exported || c.out.bytes+len(b) > c.hub.cfg.OutboxBytes {
		return
	}
	c.push(b, 0, false)
}

// push writes or queues b. c.mu is held.
func (c *Conn) push(b []byte, frames int, shared bool) { c.pushAs(b, frames, shared, nil) }

func (c *Conn) pushAs(b []byte, frames int, shared bool, x *wire.Handling) {
	o := &c.out
	c.msgsOut.Add(int64(frames))
	c.bytesOut.Add(int64(len(b)))
	if !o.writing && !o.corked && !o.held && len(o.queue) == 0 {
		n, err := c.sock.tryWrite(b)
		if err != nil {
			c.broken()
			return
		}
		if n == len(b) {
			return
		}
		if n > 0 {
			b, x = b[n:], nil // what has begun must be ended
		}
	}
	o.bytes += len(b)
	o.frames += frames
	if o.held {
		o.extra = load{o.extra.bytes + len(b), o.extra.frames + frames}
	}
	if shared {
		o.queue = append(o.queue, chunk{b: b, n: frames, x: x})
	} else if last := len(o.queue) - 1; last >= 0 && o.queue[last].owned && cap(o.queue[last].b)-len(o.queue[last].b) >= len(b) {
		o.queue[last].b = append(o.queue[last].b, b...)
		o.queue[last].n += frames
	} else {
		o.queue = append(o.queue, chunk{b: append(make([]byte, 0, max(chunkSize, len(b))), b...), n: frames, owned: true})
	}
	if !o.corked && !o.writing && !o.held {
		c.startWriter()
	}
}

// answer writes the handshake's answer. What a full kernel leaves of it is queued in front of all frames: nobody waits for it here.
// c.mu is held.
func (c *Conn) answer(b []byte) error {
	n, err := c.sock.tryWrite(b)
	if err != nil {
		return err
	}
	if b = b[n:]; len(b) > 0 {
		c.out.queue = append(c.out.queue, chunk{b: b})
		c.out.bytes += len(b)
		c.startWriter()
	}
	return nil
}

// heldFactor is how many times its limits an outbox takes while it is held.
const heldFactor = 8

// limit is what the outbox takes. What comes while it is held does not make its peer a slow one, until that is written. c.mu is held.
func (c *Conn) limit() load {
	cfg, o := &c.hub.cfg, &c.out
	if o.held {
		return load{heldFactor * cfg.OutboxBytes, heldFactor * cfg.OutboxMessages}
	}
	return load{cfg.OutboxBytes + o.extra.bytes, cfg.OutboxMessages + o.extra.frames}
}

// makeRoom drops what may be dropped, the oldest first, until so much more fits below the limit. It tells whether it does.
// c.mu is held.
func (c *Conn) makeRoom(bytes, frames int, limit load) bool {
	o := &c.out
	fits := func() bool { return o.bytes+bytes <= limit.bytes && o.frames+frames <= limit.frames }
	kept := o.queue[:0]
	for _, k := range o.queue {
		if fits() || !k.x.Droppable() {
			kept = append(kept, k)
			continue
		}
		o.bytes -= len(k.b)
		o.frames -= k.n
		c.hub.totals.dropped.Add(int64(k.n))
	}
	clear(o.queue[len(kept):])
	o.queue = kept
	return fits()
}

// replace puts a newer value in the place of a waiting one. c.mu is held.
func (c *Conn) replace(b []byte, frames int, x *wire.Handling) bool {
	o := &c.out
	for i := range o.queue {
		k := &o.queue[i]
		if k.x != nil && k.x.Class == wire.Latest && k.x.Key == x.Key {
			o.bytes += len(b) - len(k.b)
			o.frames += frames - k.n
			k.b, k.n, k.x = b, frames, x
			c.hub.totals.dropped.Add(1)
			return true
		}
	}
	return false
}

func (c *Conn) startWriter() {
	c.out.writing = true
	go c.writeLoop()
}

// broken notes that the socket cannot be written any more; the reader runs the close path. c.mu is held.
func (c *Conn) broken() {
	c.out.drop()
	if c.state == open {
		c.end(wire.CloseAbnormal, "")
	}
	c.tellDone() // also where it has moved, and its action runs here
	c.sock.cut()
}

func (o *outbox) drop() { o.queue, o.bytes, o.frames, o.extra = nil, 0, 0, load{} }

func (o *outbox) hold() {
	o.held = true
	o.holds++
}

// take removes up to 64 KiB or 64 chunks from the queue's front.
func (o *outbox) take(bufs net.Buffers) (net.Buffers, []chunk) {
	size, i := 0, 0
	for i < len(o.queue) && i < 64 && size < 64<<10 {
		bufs = append(bufs, o.queue[i].b)
		size += len(o.queue[i].b)
		i++
	}
	taken := o.queue[:i:i]
	if i == len(o.queue) {
		o.queue = nil
	} else {
		o.queue = o.queue[i:]
	}
	return bufs, taken
}

// writeLoop writes what is queued and ends when nothing is. Its wait is bounded: a peer that takes nothing for
// WriteTimeout is cut.
func (c *Conn) writeLoop() {
	defer func() {
		if v := recover(); v != nil { // not expected; without it one fault would end the process
			c.hub.cfg.Log.Error("panic in the writer", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			c.abort()
		}
	}()
	o := &c.out
	var store net.Buffers
	for {
		c.mu.Lock()
		bufs, taken, holds := store[:0], []chunk(nil), o.holds
		if !o.held {
			bufs, taken = o.take(bufs)
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
		// Under the lock: a move sets the deadline into the past, and that must stand.
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
		case err == nil, isTimeout(err) && c.mayWrite(n, holds):
			o.putBack(taken, int(n))
		default:
			if c.state == open && isTimeout(err) {
				c.hub.totals.slow.Add(1)
				c.closedHere = true
				c.end(wire.CloseSlow, "slow")
			}
			c.broken()
		}
		o.extra = load{min(o.extra.bytes, o.bytes), min(o.extra.frames, o.frames)}
		c.mu.Unlock()
		clear(store)
		clear(taken)
	}
}

// mayWrite tells whether the writer goes on behind a write of n bytes whose time was over. Where a hold has ended it, the peer is not
// to blame; progress counts until the connection closes. c.mu is held.
func (c *Conn) mayWrite(n int64, holds int) bool {
	return !c.sock.cutOff && (c.out.holds != holds || n > 0 && c.state == open)
}

// putBack returns what take had taken and the kernel has not.
func (o *outbox) putBack(taken []chunk, written int) {
	for len(taken) > 0 && written >= len(taken[0].b) {
		written -= len(taken[0].b)
		o.frames = max(0, o.frames-taken[0].n)
		taken = taken[1:]
	}
	if len(taken) == 0 {
		return
	}
	o.queue = append(slices.Clone(taken), o.queue...)
	if written > 0 {
		first := &o.queue[0]
		first.b, first.x = first.b[written:], nil // what has begun must be ended
	}
}

// cork collects replies until the frames that arrived together are all dispatched. Whoever is slow in between does not
// hold back the others' replies: the hub uncorks after 2 ms.
func (c *Conn) cork() {
	c.mu.Lock()
	fresh := !c.out.corked && c.state == open
	if fresh {
		c.out.corked = true
	}
	c.mu.Unlock()
	if fresh {
		c.hub.corks.add(c)
	}
}

// uncork writes what cork collected; it tells whether the connection is closing.
func (c *Conn) uncork() (ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.corked {
		c.flush()
	}
	return c.state >= closing
}

// flush ends a cork. c.mu is held.
func (c *Conn) flush() {
	o := &c.out
	o.corked = false
	if o.writing || o.held || len(o.queue) == 0 {
		return
	}
	if first := &o.queue[0]; len(o.queue) == 1 {
		n, err := c.sock.tryWrite(first.b)
		if err != nil {
			c.broken()
			return
		}
		if n == len(first.b) {
			o.drop()
			return
		}
		if n > 0 {
			o.bytes -= n
			first.b, first.x = first.b[n:], nil
		}
	}
	c.startWriter()
}

// corks are the connections whose replies wait for the end of a batch. Its goroutine lives only while there are any.
type corks struct {
	interval time.Duration

	mu      sync.Mutex
	list    []*Conn
	running bool
}

func (k *corks) add(c *Conn) {
	k.mu.Lock()
	k.list = append(k.list, c)
	start := !k.running
	k.running = true
	k.mu.Unlock()
	if start {
		go k.run()
	}
}

func (k *corks) run() {
	var list []*Conn
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
		for i, c := range list {
			c.uncork()
			list[i] = nil
		}
	}
}

// dispatch hands one message to the Handler.
func (c *Conn) dispatch(data []byte) {
	c.msgsIn.Add(1)
	if c.in.more() {
		c.cork()
	}
	c.act(func() { c.hub.cfg.Handler.Message(c, data) })
}

// act runs what the reader is to do for the application, and recovers what it throws.
func (c *Conn) act(f func()) {
	from := c.hub.clock.seconds.Load()
	c.reader.Store(away)
	defer func() {
		if v := recover(); v != nil {
			c.hub.cfg.Log.Error("panic in a message handler", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
		c.back(from)
		if c.hub.frozen.Load() {
			c.parkBusy() // it may have been exported during the action
		}
	}()
	f()
}
