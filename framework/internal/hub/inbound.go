package hub

import (
	"bufio"
	"errors"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

// inbound is a connection's reader. It reads the socket, passes complete frames to gws, and calls
// the Handler with the messages that gws returns.
//
// It belongs to the reader's goroutine. During an action housekeeping may use it under Conn.mu
// (ahead.go).
type inbound struct {
	c *Conn
	frames
	reader    atomic.Int32  // readerListening, readerActing or readerAssisted
	br        *bufio.Reader // from which gws reads
	rested    *read         // what ended the last rest, until it is dispatched
	timing    bool          // Conn.messageFrom is set
	aheadFull bool          // the last read ahead has left bytes in the socket; guarded by Conn.mu
	binary    bool          // the message being handled is binary
	failed    bool          // the socket returned an error or EOF

	// Of a connection that an event loop watches, see turn.go.
	loop             *loop // nil = a goroutine reads
	turn             atomic.Uint32
	slot, generation int32 // in loop.table
	ws               *gws.Conn
	assembling       bool // ws holds fragments
	remaking         bool // ws is being made
}

func (in *inbound) init(c *Conn) {
	in.c, in.cfg = c, &c.hub.cfg
	in.allowance.init(in.cfg, &c.hub.clock)
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

func (in *inbound) read(p []byte) (int, error) {
	c := in.c
	for in.off == in.ready {
		// Everything that had arrived is dispatched, so the replies leave together.
		if c.out.uncork() {
			return 0, io.EOF
		}
		if in.fault.Code != 0 {
			c.Close(in.fault.Code, in.fault.Reason)
			return 0, io.EOF
		}
		// Bytes that ended a rest are dispatched first, since a move would not take them along.
		if c.hub.frozen.Load() && in.rested == nil && c.park() {
			return 0, errMoved
		}
		data, pooled, err := in.next()
		if err != nil {
			if c.Ended() {
				return 0, io.EOF
			}
			if isTimeout(err) {
				continue // frozen or thawed; no other deadline is ever set
			}
			in.failed = true
			return 0, err
		}
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
	n := copy(p, in.buf[in.off:in.ready])
	in.off += n
	if in.off == in.ready {
		in.keep()
		if len(in.buf) > 0 || in.begun {
			in.watch()
		}
	}
	return n, nil
}

// errRest unwinds gws's read loop, which starts again when bytes come.
var errRest = errors.New("connection rests")

// read is the result of one read from the socket.
type read struct {
	data   []byte
	pooled *[]byte
	err    error
}

// rest waits for bytes outside gws, which halves the stack of a waiting goroutine. A connection
// rests until its first message, and again once it has been quiet but for control frames. One that
// sends messages waits inside gws, so that not every message has to unwind it.
func (in *inbound) rest() {
	for in.quiet() {
		in.listens()
		data, pooled, err := in.c.sock.read()
		if err == nil && in.pong(data) {
			readPool.Put(pooled)
			continue
		}
		in.rested = &read{data, pooled, err}
		return
	}
}

// pong handles a pong that came alone, without gws and the stack that gws would need.
func (in *inbound) pong(data []byte) bool {
	h, ok := wire.ParseHeader(data)
	if !ok || h.Op != wire.OpPong || len(data) != h.Size+int(h.Length) || in.checkHeader(h) != (wire.Close{}) || in.c.hub.frozen.Load() {
		return false
	}
	in.arrived(len(data))
	if in.fault = in.charge(h); in.fault.Code != 0 {
		in.c.Close(in.fault.Code, in.fault.Reason)
	}
	return true
}

func (in *inbound) quiet() bool { return !in.busy && len(in.buf) == 0 && !in.begun }

// next waits for bytes, or returns those that ended a rest.
func (in *inbound) next() ([]byte, *[]byte, error) {
	if r := in.rested; r != nil {
		in.rested = nil
		return r.data, r.pooled, r.err
	}
	if in.quiet() {
		panic(errRest)
	}
	in.busy = false
	in.listens()
	return in.c.sock.read()
}

// watch records for housekeeping since when a message is incomplete.
func (in *inbound) watch() {
	if incomplete := in.begun || len(in.buf) > in.ready; incomplete != in.timing {
		in.timing = incomplete
		if incomplete {
			in.c.messageFrom.Store(in.c.hub.clock.seconds.Load())
		} else {
			in.c.messageFrom.Store(0)
		}
	}
}

func (in *inbound) run(ws *gws.Conn, first func()) {
	if first == nil {
		in.start(ws)
		return
	}
	defer func() { go in.start(ws) }() // deferred, since first may end this goroutine
	in.guard(func() { in.act(first) })
}

// start begins to read: a loop does it, or else a goroutine.
func (in *inbound) start(ws *gws.Conn) {
	if in.watched(ws) {
		in.serve()
		return
	}
	in.readLoop(ws)
}

// readLoop reads until the connection ends. It goes on in a new goroutine, whose stack is small,
// whenever the connection becomes quiet or an action has ended this goroutine (runtime.Goexit).
func (in *inbound) readLoop(ws *gws.Conn) {
	c := in.c
	again := true
	defer func() {
		if again {
			go in.readLoop(ws)
			return
		}
		c.hub.inside.Add(-1)
	}()
	if !c.hasMoved() {
		in.rest()
		if in.guard(ws.ReadLoop) {
			return
		}
	}
	again = false
	if c.hasMoved() {
		c.finishMoved()
		return
	}
	defer in.linger() // also when a close listener panics
	in.finish()
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
			c.hub.cfg.Log.Error("panic in the read loop", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
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
			c.hub.cfg.Log.Error("panic on close", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
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
	in.close()
	c.mu.Unlock()
	in.frames.release()
}

// close closes the socket. c.mu is held.
func (in *inbound) close() {
	if in.loop != nil && !in.c.sock.shut {
		in.loop.detach(in.c)
	}
	in.c.sock.close()
}

// dispatch calls the Handler with one message.
func (in *inbound) dispatch(data []byte) {
	c := in.c
	c.msgsIn.Add(1)
	if in.more() {
		c.out.cork()
	}
	in.act(func() { c.hub.handler.Message(c, data) })
}

// act runs an action in the reader's goroutine and recovers its panic.
func (in *inbound) act(f func()) {
	c := in.c
	from := c.hub.clock.seconds.Load()
	in.reader.Store(readerActing)
	defer func() {
		if v := recover(); v != nil {
			c.hub.cfg.Log.Error("panic in a message handler", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
		in.endAction(from)
		if c.hub.frozen.Load() {
			c.parkBusy() // the connection may have been exported during the action
		}
	}()
	f()
}
