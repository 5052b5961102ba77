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

// inbound is a connection's reader: it reads from the socket and gives gws complete frames only, and runs what they ask for.
//
// It belongs to the reader's goroutine, except where Conn.mu is held and the reader is away (away.go).
type inbound struct {
	c *Conn
	frames
	where   atomic.Int32  // listening, away or looking
	br      *bufio.Reader // gws's
	rested  *read
	timing  bool // messageFrom is set
	brimful bool // the last look ahead has left bytes in the socket; guarded by Conn.mu
	binary  bool // the message being handled came as binary
	failed  bool // the socket gave an error or EOF
}

func (in *inbound) init(c *Conn) {
	in.c, in.cfg = c, &c.hub.cfg
	in.allowance.init(in.cfg, &c.hub.clock)
}

// arrived notes that n bytes came.
func (in *inbound) arrived(n int) {
	in.c.lastIn.Store(in.c.hub.clock.seconds.Load())
	in.c.bytesIn.Add(int64(n))
	in.refill()
}

// refill is called once a read: the clock is not asked for each message.
func (in *inbound) refill() {
	in.allowance.refill(in.cfg, &in.c.hub.clock, in.where.Load() == listening)
}

func (in *inbound) listens() { in.allowance.listens(in.cfg, &in.c.hub.clock) }

func (in *inbound) read(p []byte) (int, error) {
	c := in.c
	for in.off == in.ready {
		// Everything that had arrived was dispatched: the replies leave together, then wait for more.
		if c.out.uncork() {
			return 0, io.EOF
		}
		if in.fault.Code != 0 {
			c.Close(in.fault.Code, in.fault.Reason)
			return 0, io.EOF
		}
		// What a resting reader has taken from the socket is dispatched first: it would not travel.
		if c.hub.frozen.Load() && in.rested == nil && c.park() {
			return 0, errMoved
		}
		data, pooled, err := in.next()
		if err != nil {
			if c.Ended() {
				return 0, io.EOF
			}
			if isTimeout(err) {
				continue // frozen, or thawed in this moment: there is no other deadline
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

// errRest unwinds gws's read loop, which begins anew when bytes come.
var errRest = errors.New("connection rests")

// read is what came, or why nothing will.
type read struct {
	data   []byte
	pooled *[]byte
	err    error
}

// rest waits for bytes where little is on the stack: a goroutine that waits below gws keeps twice the stack. What has not yet said
// anything rests, and what was quiet but for a control frame, the answer to a ping above all: who talks is not unwound for each message.
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

// pong takes the answer to a ping that came alone: it is not worth the stack that gws would need.
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

// next waits for bytes, unless it was waited for them already.
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

// watch tells housekeeping since when a message is incomplete.
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
		in.loop(ws)
		return
	}
	defer func() { go in.loop(ws) }() // also when first has ended this goroutine
	in.guard(func() { in.act(first) })
}

// loop reads until the connection ends. It goes on in a fresh goroutine, whose stack is small, whenever the connection has become
// quiet, and where an action has ended this one (runtime.Goexit).
func (in *inbound) loop(ws *gws.Conn) {
	c := in.c
	again := true
	defer func() {
		if again {
			go in.loop(ws)
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
		c.leaveMoved()
		return
	}
	defer in.linger() // whatever a close listener does
	in.finish()
}

// guard recovers whatever gws or a callback below it may throw: the process and the other connections live on. It tells whether
// the reader only rests.
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

// finish is the close path's bookkeeping half.
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

// linger lets the peer read what we wrote, the close frame above all: closing a socket with unread bytes in its receive
// buffer resets the connection and takes our last frames with it. So: write out, half-close, discard until the peer
// closes, for at most a second.
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
		<-flushed // bounded: the writer gives up after WriteTimeout without progress
	}
	if !in.failed { // else the peer has closed, and everything of it is read
		c.sock.drain(lingerTime)
	}
	c.mu.Lock()
	c.state = closed
	c.sock.close()
	c.mu.Unlock()
	in.release()
}

// dispatch hands one message to the Handler.
func (in *inbound) dispatch(data []byte) {
	c := in.c
	c.msgsIn.Add(1)
	if in.more() {
		c.out.cork()
	}
	in.act(func() { c.hub.handler.Message(c, data) })
}

// act runs what the reader is to do for the application, and recovers what it throws.
func (in *inbound) act(f func()) {
	c := in.c
	from := c.hub.clock.seconds.Load()
	in.where.Store(away)
	defer func() {
		if v := recover(); v != nil {
			c.hub.cfg.Log.Error("panic in a message handler", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
		in.back(from)
		if c.hub.frozen.Load() {
			c.parkBusy() // it may have been exported during the action
		}
	}()
	f()
}
