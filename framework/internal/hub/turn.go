package hub

import (
	"bufio"
	"runtime/debug"
	"unicode/utf8"

	"github.com/lxzan/gws"
	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

// A connection that an event loop watches has an owner or none. Only the owner reads, dispatches, and runs
// the close path. The owner is the loop, a goroutine (serve), or a freeze, which owns what it has parked.
//
//	             claim                        claim
//	turnIdle ───────────▶ turnOwned ───────────────────────▶ turnAgain
//	     ▲     event, Close,   │   ▲   event, Close while owned   │
//	     └────────── freeze ───┘   └──────────────────────────────┘
//	           release              release: the owner looks once more
//
// Events are edge-triggered. So whoever has something for the owner (an event, a close, a broken socket)
// makes it visible first and claims after that. Either the claim succeeds, and the claimer serves; or the
// owner finds turnAgain when it releases, and looks once more. No condition is lost.
//
// An owner releases after a read that has emptied the socket. A connection that has ended is never
// released. Frames that were received but belong to an incomplete message stay in frames; the gws.Conn is
// dropped unless it holds fragments, or the connection has negotiated compression.
//
// Lock order: Conn.mu → turn. A claim never waits, so it is allowed under any lock. Nothing of the
// application runs under a lock or in the loop unless Inliner.MessageInline says that it is quick.
const (
	turnIdle  uint32 = iota // nobody serves, and the loop waits for bytes
	turnOwned               // somebody serves
	turnAgain               // somebody serves, and must look once more
)

// Inliner is a Handler that knows which messages take microseconds only. These run in the event loop.
type Inliner interface {
	Handler
	// MessageInline does what Message does and returns true, or does nothing and returns false.
	MessageInline(c *Conn, data []byte) bool
}

// claim makes the caller the owner, or has the owner look once more.
func (in *inbound) claim() bool {
	for {
		switch s := in.turn.Load(); s {
		case turnIdle:
			if in.turn.CompareAndSwap(turnIdle, turnOwned) {
				return true
			}
		case turnOwned:
			if in.turn.CompareAndSwap(turnOwned, turnAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// release ends the ownership. false: the owner must look once more.
func (in *inbound) release() bool {
	if in.turn.CompareAndSwap(turnOwned, turnIdle) {
		return true
	}
	in.turn.Store(turnOwned)
	return false
}

// signal has the connection's owner, or a new one, see that it has ended.
func (in *inbound) signal() {
	if in.loop != nil && in.claim() {
		go in.serve()
	}
}

// watched hands the connection to a loop. The caller owns the turn and gives it up. false: there is no
// loop, or it has no place.
func (in *inbound) watched(ws *gws.Conn) bool {
	h := in.c.hub
	if len(h.loops) == 0 {
		return false
	}
	l := h.loops[int(in.c.FD%int64(len(h.loops)))]
	in.turn.Store(turnOwned)
	in.c.mu.Lock()
	if !in.c.out.writing {
		in.c.sock.leavePoller()
	}
	in.loop = l
	in.c.mu.Unlock()
	if err := l.attach(in.c); err != nil {
		in.c.mu.Lock()
		in.loop = nil
		in.c.sock.pollable()
		in.c.mu.Unlock()
		h.cfg.Log.Warn("connection has a reader of its own", zap.Error(err))
		return false
	}
	in.ws = ws
	in.dropWS(false) // gws has seen no frame in this process
	return true
}

// dropWS drops the gws.Conn unless it holds fragments, or would be expensive to make again.
func (in *inbound) dropWS(assembling bool) {
	in.assembling = assembling
	if !assembling && !in.deflate {
		in.ws, in.br = nil, nil
	}
}

// event is the loop's: the socket has bytes, or has ended.
func (in *inbound) event(r *runner, ended bool) {
	c := in.c
	if !in.claim() {
		if ended && in.reader.Load() != readerListening {
			c.mu.Lock()
			c.endDone()
			c.mu.Unlock()
		}
		return
	}
	if ended || c.hub.frozen.Load() {
		go in.serve()
		return
	}
	data, pooled, err := c.sock.receive()
	switch {
	case err != nil:
		in.failed = !c.Ended()
		go in.conclude()
		return
	case data == nil:
		if !in.release() {
			go in.serve()
		}
		return
	}
	full := len(data) == readSize
	in.received(data, pooled)
	for in.off < in.ready {
		switch in.inline(r) {
		case handedOver:
			return
		case notCommon:
			go in.serve()
			return
		}
		if r.lost {
			go in.serve()
			return
		}
	}
	if full || in.fault.Code != 0 || c.hub.frozen.Load() {
		go in.serve()
		return
	}
	in.keep()
	in.watch()
	if c.out.uncork() {
		go in.serve()
		return
	}
	in.listens()
	if !in.release() {
		go in.serve()
	}
}

// Results of inline.
const (
	handled    = iota
	handedOver // a goroutine owns the connection now
	notCommon
)

// inline handles one frame in the loop.
func (in *inbound) inline(r *runner) (result int) {
	c := in.c
	payload, ok := in.common()
	if !ok {
		return notCommon
	}
	if payload == nil {
		return handled
	}
	if c.hub.inliner == nil {
		go in.carry(payload)
		return handedOver
	}
	in.count()
	from := c.hub.clock.seconds.Load()
	in.reader.Store(readerActing)
	r.begin()
	whole := false
	defer func() {
		if whole {
			return
		}
		// A panic, or the end of this goroutine (runtime.Goexit), by which the loop goes on in another.
		if v := recover(); v != nil {
			in.logPanic(v)
			r.end()
		}
		in.endAction(from)
		go in.serve()
		result = handedOver
	}()
	done := c.hub.inliner.MessageInline(c, payload)
	whole = true
	r.end()
	if !done {
		go in.actThenServe(payload, from)
		return handedOver
	}
	in.endAction(from)
	return handled
}

// common takes a frame that needs no gws: a pong, a ping, or a whole text. ok is false for any other. The
// payload of a text is unmasked where it lies; nil = the frame is handled.
func (in *inbound) common() (payload []byte, ok bool) {
	h, _ := wire.ParseHeader(in.buf[in.off:])
	raw := in.buf[in.off : in.off+h.Size+int(h.Length)]
	switch raw[0] {
	case final | wire.OpPong:
	case final | wire.OpPing:
		in.c.out.control(wire.ControlFrame(wire.OpPong, h.Unmask(raw)))
	case final | wire.OpText:
		if in.assembling {
			return nil, false
		}
		payload = raw[h.Size:]
		h.Mask(raw)
		if !utf8.Valid(payload) {
			h.Mask(raw)
			return nil, false // gws says so
		}
		in.binary = false
	default:
		return nil, false
	}
	in.off += len(raw)
	return payload, true
}

const final = 0x80

// count notes a message that is dispatched, and corks replies if others follow.
func (in *inbound) count() {
	in.c.msgsIn.Add(1)
	if in.more() {
		in.c.out.cork()
	}
}

// carry dispatches a message in a goroutine that then owns the connection.
func (in *inbound) carry(payload []byte) {
	in.count()
	in.reader.Store(readerActing)
	in.actThenServe(payload, in.c.hub.clock.seconds.Load())
}

// actThenServe runs an action that has begun at from, and serves the connection after it.
func (in *inbound) actThenServe(payload []byte, from int64) {
	over := false
	defer func() {
		if !over { // the action has ended this goroutine
			go in.serve()
		}
	}()
	func() {
		defer func() {
			if v := recover(); v != nil {
				in.logPanic(v)
			}
			in.endAction(from)
		}()
		in.c.hub.handler.Message(in.c, payload)
	}()
	over = true
	in.serve()
}

func (in *inbound) logPanic(v any) {
	in.c.hub.cfg.Log.Error("panic in a message handler", zap.Int64("fd", in.c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
}

// serve owns the connection until its socket is empty, it ends, or a freeze takes it.
func (in *inbound) serve() {
	c := in.c
	over := false
	defer func() {
		if !over { // an action has ended this goroutine
			go in.serve()
		}
	}()
	for {
		if c.hub.frozen.Load() && c.awaitExport() || !in.process() {
			over = true
			in.conclude()
			return
		}
		if c.hub.frozen.Load() && c.parkTurn() {
			over = true
			return
		}
		in.listens()
		data, pooled, err := c.sock.receive()
		switch {
		case err != nil:
			in.failed = !c.Ended()
			over = true
			in.conclude()
			return
		case data != nil:
			in.received(data, pooled)
			continue
		}
		if in.release() {
			over = true
			return
		}
	}
}

// received takes what was read.
func (in *inbound) received(data []byte, pooled *[]byte) {
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

// process dispatches all complete frames. false: the connection is over.
func (in *inbound) process() bool {
	c := in.c
	for in.inside() || in.off < in.ready {
		whole := false
		rests := in.guard(func() {
			for in.inside() || in.off < in.ready {
				payload, ok := []byte(nil), false
				if !in.inside() {
					payload, ok = in.common()
				}
				switch {
				case !ok:
					in.makeWS().ReadLoop() // until errRest, or its end
					return
				case payload != nil:
					in.dispatch(payload)
				}
			}
			whole = true
		})
		if rests {
			in.dropWS(in.begun)
		} else if !whole {
			return false
		}
	}
	in.keep()
	in.watch()
	if c.out.uncork() {
		return false
	}
	if in.fault.Code != 0 {
		c.Close(in.fault.Code, in.fault.Reason)
		return false
	}
	return true
}

// inside reports whether gws has buffered frames, since an action below it has ended its goroutine.
func (in *inbound) inside() bool { return in.br != nil && in.br.Buffered() > 0 }

// feed is shim.Read for a connection that a loop watches: what is there, until errRest.
func (in *inbound) feed(p []byte) int {
	if in.off == in.ready {
		panic(errRest)
	}
	n := copy(p, in.buf[in.off:in.ready])
	in.off += n
	return n
}

// makeWS returns the connection's gws.Conn, or makes one: gws is shown a handshake.
func (in *inbound) makeWS() *gws.Conn {
	if in.ws != nil {
		return in.ws
	}
	c := in.c
	upgrader, request := c.hub.upgrader, plainRequest
	if in.deflate {
		upgrader, request = c.hub.deflating(), deflateRequest
	}
	in.br = bufio.NewReaderSize((*shim)(c), 64)
	in.remaking = true
	ws, err := upgrader.UpgradeFromConn((*shim)(c), in.br, request)
	in.remaking = false
	if err != nil {
		panic(err) // not expected: the request is ours
	}
	in.ws = ws
	return ws
}

// conclude is the end of a connection, and the last that its owner does.
func (in *inbound) conclude() {
	c := in.c
	defer c.hub.inside.Add(-1)
	if c.hasMoved() {
		c.finishMoved()
		return
	}
	defer in.linger()
	in.finish()
}
