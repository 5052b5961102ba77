package hub

import (
	"bytes"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"unicode/utf8"

	"github.com/lxzan/gws"
	"go.uber.org/zap"

	"wsframe/framework/internal/eventloop"
	"wsframe/framework/internal/wire"
)

// watched serves a connection whose socket an event loop watches. A quiet connection has no
// goroutine, no buffer and no gws.Conn.
//
// An event makes the loop the owner of the connection's turn. The loop reads once and handles whole
// unfragmented frames itself; messages that MessageInline accepts are dispatched there. In all
// other cases a goroutine gets the turn (serve). It reads until the socket is empty, and gives the
// turn back. So frames of one connection stay in order.
//
// All else of WebSocket is gws's: it gets the bytes of complete frames by feed. Its Conn is made on
// demand, and kept while it holds fragments or where compression is negotiated.
type watched struct {
	in   *inbound
	turn turn
	loop *eventloop.Loop[Conn] // nil = blocking serves the connection; set under Conn.mu
	key  eventloop.Key

	// Owned by the owner of the turn.
	assembling bool  // gws holds fragments
	acting     int64 // time at which the action began that runs, in seconds of Hub.clock
}

// Inliner is a Handler that knows which messages take microseconds only. These run in the event
// loop.
type Inliner interface {
	Handler
	// MessageInline does what Message does and returns nil, or returns what remains to be done. The
	// connection's goroutine calls that, which must not use data any more.
	MessageInline(c *Conn, data []byte, turn Turn) (rest func())
	// Overran is called when a call of MessageInline takes longer than the loop can wait. The call
	// may have ended meanwhile.
	Overran(c *Conn)
}

// Turn is the handling of one message in the event loop. It is the Inliner's until MessageInline
// returns.
type Turn interface {
	// Begin is called before code of the application. From then on the loop goes on without a call
	// that takes too long.
	Begin()
}

// attach hands the socket to a loop and gives the turn to the caller. It returns false where no
// loop takes it.
func (w *watched) attach() bool {
	c := w.in.c
	l := c.hub.loopFor(c)
	if l == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sock.shut {
		return false
	}
	w.turn.state.Store(turnOwned)
	if !c.out.writing {
		c.sock.leavePoller()
	}
	key, err := l.Add(c.sock.descriptor(), c)
	if err != nil {
		c.sock.pollable()
		c.hub.cfg.Log.Warn("connection has a goroutine that reads", zap.Error(err))
		return false
	}
	w.loop, w.key = l, key
	return true
}

// rest gives up the turn that attach has given, unless there is something to do. What happens from
// attach on claims the turn; rest looks for what was there before.
func (w *watched) rest() bool {
	c := w.in.c
	return len(w.in.buf) == 0 && !c.hub.frozen.Load() && !c.Ended() && w.turn.release()
}

// detach undoes attach. Conn.mu is held, and the descriptor is open.
func (w *watched) detach() {
	if w.loop != nil {
		w.loop.Remove(w.in.c.sock.descriptor(), w.key)
	}
}

// signal has the owner of the turn, or a new one, see that the connection has ended.
func (w *watched) signal() {
	if w.loop != nil && w.turn.claim() {
		go w.serve()
	}
}

// next is what follows a turn in the loop.
type next int

const (
	waits  next = iota // the turn is released
	serves             // a goroutine must go on
	passed             // a goroutine has the turn already
)

// event is called by the loop. ended: the peer has closed or broken the connection.
func (w *watched) event(r *eventloop.Runner, ended bool) {
	in, c := w.in, w.in.c
	if !w.turn.claim() {
		w.eventDuringAction(ended)
		return
	}
	whole := false
	defer func() {
		if whole {
			return
		}
		// A panic, or the end of this goroutine (runtime.Goexit), by which the loop goes on in
		// another.
		if v := recover(); v != nil {
			in.logPanic("panic in a message handler", v)
		}
		in.endAction(w.acting)
		go w.serve()
	}()
	then := serves
	if !ended && !c.hub.frozen.Load() {
		then = w.read(r)
	}
	whole = true
	if then == serves {
		go w.serve()
	}
}

// eventDuringAction reads ahead for an owner that runs an action. Any other owner looks once more,
// since the claim of the turn has failed.
func (w *watched) eventDuringAction(ended bool) {
	in, c := w.in, w.in.c
	if in.reader.Load() == readerListening {
		return
	}
	if ended {
		c.mu.Lock()
		c.endDone()
		c.mu.Unlock()
	}
	in.lookAhead()
}

// read handles in the loop what has arrived, as far as it is quick.
func (w *watched) read(r *eventloop.Runner) next {
	in, c := w.in, w.in.c
	data, pooled, err := c.sock.receive()
	switch {
	case err != nil:
		in.failed = !c.Ended()
		go in.conclude()
		return passed
	case data == nil:
		return w.release()
	}
	emptied := len(data) < readSize
	in.take(data, pooled)
	for in.off < in.ready {
		if r.Lost() {
			return serves
		}
		payload, common := w.frame()
		switch {
		case !common:
			return serves
		case payload == nil:
		default:
			if rest := w.inline(r, payload); rest != nil {
				in.disown()
				go w.actThenServe(rest)
				return passed
			}
		}
	}
	if !emptied || in.fault.Code != 0 || c.hub.frozen.Load() {
		return serves
	}
	in.keep()
	in.watch()
	if c.out.uncork() {
		return serves
	}
	in.listens()
	return w.release()
}

// release gives the turn back after a read that has emptied the socket.
func (w *watched) release() next {
	if w.turn.release() {
		return waits
	}
	return serves
}

// inline dispatches a message in the loop. It returns what remains to be done: that counts as
// begun, since the connection may be exported from now on.
func (w *watched) inline(r *eventloop.Runner, payload []byte) (rest func()) {
	in, c := w.in, w.in.c
	in.count()
	w.acting = c.hub.clock.seconds.Load()
	in.reader.Store(readerActing)
	if c.hub.inliner == nil {
		payload = bytes.Clone(payload)
		return func() { c.hub.handler.Message(c, payload) }
	}
	if rest = c.hub.inliner.MessageInline(c, payload, r); rest == nil {
		in.endAction(w.acting)
	}
	return rest
}

// frame handles the next frame without gws if it is a pong, a ping, or a whole text message. common
// is false for any other. payload is that of a text, unmasked where it lies; nil = handled.
func (w *watched) frame() (payload []byte, common bool) {
	in := w.in
	h, _ := wire.ParseHeader(in.buf[in.off:])
	raw := in.buf[in.off : in.off+h.Size+int(h.Length)]
	switch raw[0] {
	case wire.Final | wire.OpPong:
	case wire.Final | wire.OpPing:
		in.c.out.control(wire.ControlFrame(wire.OpPong, h.Unmask(raw)))
	case wire.Final | wire.OpText:
		if w.assembling {
			return nil, false
		}
		payload = raw[h.Size:]
		h.Mask(raw)
		if !utf8.Valid(payload) {
			h.Mask(raw)
			return nil, false // gws reports it
		}
		in.binary = false
	default:
		return nil, false
	}
	in.off += len(raw)
	return payload, true
}

// actThenServe runs an action that counts as begun, and serves the connection after it.
func (w *watched) actThenServe(action func()) {
	over := false
	defer func() {
		if !over { // the action has ended this goroutine
			go w.serve()
		}
	}()
	w.in.finishAction(w.acting, action)
	over = true
	w.serve()
}

// serve owns the turn until the socket is empty, the connection ends, or a freeze takes the turn.
func (w *watched) serve() {
	in, c := w.in, w.in.c
	over := false
	defer func() {
		if !over { // an action has ended this goroutine
			go w.serve()
		}
	}()
	for {
		if c.hub.frozen.Load() && c.awaitExport() || !w.dispatchAll() {
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
			in.take(data, pooled)
		case w.turn.release():
			over = true
			return
		}
	}
}

// dispatchAll dispatches all complete frames. It returns false if the connection has ended.
func (w *watched) dispatchAll() bool {
	in, c := w.in, w.in.c
	for in.buffered() || in.off < in.ready {
		whole := false
		rests := in.guard(func() { whole = w.dispatchFrames() })
		if rests {
			w.dropGWS()
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

// dispatchFrames dispatches frames up to the first that needs gws, whose read loop then unwinds
// with errRest or ends the connection.
func (w *watched) dispatchFrames() (whole bool) {
	in := w.in
	for in.buffered() || in.off < in.ready {
		payload, common := []byte(nil), false
		if !in.buffered() {
			payload, common = w.frame()
		}
		switch {
		case !common:
			in.makeGWS()
			in.ws.ReadLoop()
			return false
		case payload != nil:
			in.dispatch(in.own(payload))
		}
	}
	return true
}

// dropGWS drops the gws.Conn after its read loop unwound, unless it holds fragments or the state of
// a compression.
func (w *watched) dropGWS() {
	in := w.in
	w.assembling = in.begun
	if !in.begun && !in.deflate {
		in.ws, in.br = (*gws.Conn)(nil), nil
	}
}

// feed returns complete frames to gws until there are no more.
func (w *watched) feed(p []byte) int {
	in := w.in
	if in.off == in.ready {
		panic(errRest)
	}
	n := copy(p, in.buf[in.off:in.ready])
	if in.off += n; in.off == in.ready {
		in.keep()
	}
	return n
}

// loops are the event loops of a Hub, which start with the first connection that needs them.
type loops struct {
	once sync.Once
	list []*eventloop.Loop[Conn]
}

// loopFor returns the loop for a connection, or nil: the system has none, or the stream of the
// connection is not a file of the operating system (in tests).
func (h *Hub) loopFor(c *Conn) *eventloop.Loop[Conn] {
	if h.cfg.blocking {
		return nil
	}
	switch c.sock.nc.(type) {
	case *net.TCPConn, *os.File:
	default:
		return nil
	}
	h.loops.once.Do(h.startLoops)
	if len(h.loops.list) == 0 {
		return nil
	}
	return h.loops.list[int(c.FD%int64(len(h.loops.list)))]
}

// maxLoops bounds the loops, each of which has a watchdog that wakes up a thousand times a second
// while there is traffic. Four loops handle several hundred thousand messages a second.
const maxLoops = 4

// startLoops starts a loop for every two processors. A loop keeps one busy at most; the other one
// runs the goroutines of slow actions and of rooms.
func (h *Hub) startLoops() {
	for range min(max(1, runtime.GOMAXPROCS(0)/2), maxLoops) {
		l, err := eventloop.New(eventloop.Calls[Conn]{
			Ready:   func(c *Conn, r *eventloop.Runner, ended bool) { c.in.watched.event(r, ended) },
			Overran: func(c *Conn) { h.inliner.Overran(c) }, // only inline dispatches begin turns
			Fault:   func(err error) { h.cfg.Log.Error("event loop", zap.Error(err)) },
		})
		if err != nil {
			if !errors.Is(err, errors.ErrUnsupported) {
				h.cfg.Log.Warn("connections have goroutines that read", zap.Error(err))
			}
			return
		}
		h.loops.list = append(h.loops.list, l)
	}
}

func (l *loops) close() {
	l.once.Do(func() {}) // no loop starts from now on
	for _, l := range l.list {
		l.Close()
	}
}
