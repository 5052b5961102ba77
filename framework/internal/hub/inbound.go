package hub

import (
	"bufio"
	"bytes"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/lxzan/gws"
	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

// inbound is the receiving side of a connection. It checks the frames that arrive and calls the
// Handler with messages. Either watched or blocking reads the socket.
//
// It belongs to the reader: the goroutine of blocking, or the owner of the turn of watched. During
// an action others may use it under Conn.mu (ahead.go).
type inbound struct {
	c *Conn
	frames
	watched  watched
	blocking blocking

	ws        *gws.Conn
	br        *bufio.Reader // from which gws reads
	reader    atomic.Int32  // readerListening, readerActing or readerAssisted
	timing    bool          // Conn.messageFrom is set
	aheadFull bool          // the last read ahead has left bytes in the socket; guarded by Conn.mu
	binary    bool          // the message being handled is binary
	failed    bool          // the socket returned an error or EOF
	remaking  bool          // ws is being made for a connection whose client has got the response
}

func (in *inbound) init(c *Conn) {
	in.c, in.cfg = c, &c.hub.cfg
	in.watched.in, in.blocking.in = in, in
	in.allowance.init(in.cfg, &c.hub.clock)
}

// start begins to read, and returns at once. The handler first, unless it is nil, is called before.
func (in *inbound) start(first func()) {
	watched := in.watched.attach()
	if watched {
		in.watched.dropGWS()
	} else if in.ws == nil {
		in.makeGWS()
	}
	switch {
	case first != nil:
		go func() {
			defer func() { go in.serve() }() // deferred, since first may end this goroutine
			in.guard(func() { in.act(first) })
		}()
	case watched && in.watched.rest():
	default:
		go in.serve()
	}
}

// serve reads until the connection ends, or its turn can be released.
func (in *inbound) serve() {
	if in.watched.loop != nil {
		in.watched.serve()
		return
	}
	in.blocking.serve()
}

// arrived counts n received bytes.
func (in *inbound) arrived(n int) {
	in.c.lastIn.Store(in.c.hub.clock.seconds.Load())
	in.c.bytesIn.Add(int64(n))
	in.refill()
}

// refill is called once for each read, so that messages cost no reading of the clock.
func (in *inbound) refill() {
	in.allowance.refill(in.cfg, &in.c.hub.clock, in.reader.Load() == readerListening)
}

func (in *inbound) listens() { in.allowance.listens(in.cfg, &in.c.hub.clock) }

// take adds the bytes of one read, which are in a pooled buffer.
func (in *inbound) take(data []byte, pooled *[]byte) {
	in.arrived(len(data))
	if len(in.buf) == 0 {
		in.buf, in.pooled, in.off, in.ready = data, pooled, 0, 0
		in.scan()
	} else {
		in.receive(data)
		readPool.Put(pooled)
	}
	if in.off == in.ready {
		in.keep()
	}
	in.watch()
}

// own returns a message that does not lie in a pooled buffer.
func (in *inbound) own(payload []byte) []byte {
	if in.pooled == nil {
		return payload
	}
	payload = bytes.Clone(payload)
	in.disown()
	return payload
}

// disown returns the pooled buffer and keeps a copy of what is not handled yet. An action that
// takes long would otherwise keep 16 KiB for each connection.
func (in *inbound) disown() {
	if in.pooled == nil {
		return
	}
	in.c.mu.Lock() // others may read ahead already
	defer in.c.mu.Unlock()
	rest := bytes.Clone(in.buf[in.off:])
	ready := in.ready - in.off
	in.release()
	in.buf, in.off, in.ready = rest, 0, ready
}

// watch records for housekeeping since when a message is incomplete.
func (in *inbound) watch() {
	if incomplete := in.begun || len(in.buf) > in.ready; incomplete != in.timing {
		in.timing = incomplete
		if incomplete {
			now := in.c.hub.clock.seconds.Load()
			in.c.messageFrom.Store(now)
			in.c.hub.wheel.schedule(in.c.FD, &in.c.due, now+messageSeconds(in.cfg)+1)
		} else {
			in.c.messageFrom.Store(0)
		}
	}
}

// guard calls f and recovers any panic, so that the process and the other connections live on.
// rests reports that the reader left gws only to rest.
func (in *inbound) guard(f func()) (rests bool) {
	c := in.c
	defer func() {
		switch v := recover(); v {
		case nil, errMoved:
		case errRest:
			rests = true
		default:
			in.logPanic("panic in the read loop", v)
			c.Close(wire.CloseInternal, "internal error")
		}
	}()
	f()
	return false
}

// finish is the first half of the close path: it removes the connection and calls Handler.Closed.
func (in *inbound) finish() {
	c := in.c
	c.mu.Lock()
	if c.state == open {
		c.end(wire.CloseAbnormal, "") // the peer vanished without a close frame
	}
	end := c.close
	c.settled()
	c.mu.Unlock()
	c.hub.totals.add(&c.traffic)
	c.hub.remove(c)
	rooms := c.leaveAll()
	defer func() {
		if v := recover(); v != nil {
			c.in.logPanic("panic on close", v)
		}
	}()
	c.hub.handler.Closed(c, end.Code, end.Reason, rooms)
}

const lingerTime = time.Second

// linger is the second half of the close path: it writes what is queued and closes the socket. A
// socket that is closed with unread bytes resets the connection, and the peer loses our last
// frames, the close frame among them. So linger half-closes and discards until the peer closes, for
// at most a second.
func (in *inbound) linger() {
	c := in.c
	c.mu.Lock()
	writing := c.out.writing
	var flushed chan struct{}
	if writing {
		flushed = make(chan struct{})
		c.out.flushed = flushed
	}
	c.mu.Unlock()
	if writing {
		<-flushed // bounded by WriteTimeout
	}
	c.mu.Lock()
	c.sock.pollable()
	c.mu.Unlock()
	if !in.failed { // else there is nothing left to read
		c.sock.drain(lingerTime)
	}
	c.mu.Lock()
	c.state = closed
	in.closeSocket()
	c.mu.Unlock()
	in.release()
}

// closeSocket closes the descriptor. c.mu is held.
func (in *inbound) closeSocket() {
	if !in.c.sock.shut {
		in.watched.detach()
	}
	in.c.sock.close()
}

// count notes a message that is dispatched, and corks the replies if others follow.
func (in *inbound) count() {
	in.c.msgsIn.Add(1)
	if in.more() {
		in.c.out.cork()
	}
}

// dispatch calls the Handler with one message.
func (in *inbound) dispatch(data []byte) {
	c := in.c
	in.count()
	in.act(func() { c.hub.handler.Message(c, data) })
}

// act runs an action in the reader's goroutine and recovers its panic.
func (in *inbound) act(f func()) {
	c := in.c
	defer func() { // also where the action ends its goroutine
		if c.hub.frozen.Load() {
			c.parkBusy() // the connection may have been exported during the action
		}
	}()
	from := c.hub.clock.seconds.Load()
	in.reader.Store(readerActing)
	in.finishAction(from, f)
}

// finishAction runs an action that counts as begun, at from in seconds of Hub.clock, and recovers
// its panic.
func (in *inbound) finishAction(from int64, f func()) {
	defer func() {
		if v := recover(); v != nil {
			in.logPanic("panic in a message handler", v)
		}
		in.endAction(from)
	}()
	f()
}

func (in *inbound) logPanic(what string, v any) {
	in.c.hub.cfg.Log.Error(what, zap.Int64("fd", in.c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
}

// conclude is the end of a connection in this process, and the last that its reader does.
func (in *inbound) conclude() {
	c := in.c
	defer c.hub.inside.Add(-1)
	if c.hasMoved() {
		c.finishMoved()
		return
	}
	defer in.linger() // also when a close listener panics
	in.finish()
}

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
func (c *Conn) Ping() { c.out.ping() }

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
	in.frames.ahead = in.aheadFrame
	defer func() { in.frames.ahead = nil }()
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

// Interrupter is a Handler that takes some messages while an action of their connection runs, ahead
// of those that wait: answers that the action waits for.
type Interrupter interface {
	// Awaits reports whether there may be such a message for the connection.
	Awaits(c *Conn) bool
	// Interrupt handles a message, or returns false and leaves it where it is. The lock of the
	// connection is held by the caller of both: they neither wait nor send.
	Interrupt(c *Conn, text []byte) bool
}

// aheadFrame handles control frames, and messages for the Interrupter, ahead of the messages before
// them. A frame that is taken never reaches gws. c.mu is held.
func (in *inbound) aheadFrame(h wire.Header, raw []byte) (taken bool) {
	c := in.c
	switch h.Op {
	case wire.OpPing:
		c.out.controlLocked(wire.ControlFrame(wire.OpPong, h.Unmask(raw)))
	case wire.OpPong:
	case wire.OpClose:
		c.endDone() // the reader answers the frame after the messages before it
		return false
	case wire.OpText:
		i, ok := c.hub.handler.(Interrupter)
		if !ok || !h.Fin || h.RSV != 0 || !i.Awaits(c) {
			return false
		}
		text := h.Unmask(raw)
		if !utf8.Valid(text) || !i.Interrupt(c, text) {
			return false
		}
		c.msgsIn.Add(1)
	default:
		return false
	}
	return true
}
