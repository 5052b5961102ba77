package hub

import (
	"errors"
	"io"

	"wsframe/framework/internal/wire"
)

// blocking serves a connection by a goroutine that waits in reads, for systems without event loops
// and for sockets that no loop takes. gws pulls its bytes by read.
type blocking struct {
	in     *inbound
	rested *received // what ended the last rest, until it is dispatched
}

// received is the result of one read from the socket.
type received struct {
	data   []byte
	pooled *[]byte
	err    error
}

// errRest unwinds gws's read loop, which starts again when bytes come.
var errRest = errors.New("connection rests")

// serve reads until the connection ends. It goes on in a new goroutine, whose stack is small,
// whenever the connection becomes quiet or an action has ended this goroutine (runtime.Goexit).
func (b *blocking) serve() {
	in, c := b.in, b.in.c
	again := true
	defer func() {
		if again {
			go b.serve()
		}
	}()
	if !c.hasMoved() {
		b.rest()
		if in.guard(in.ws.ReadLoop) {
			return
		}
	}
	again = false
	in.conclude()
}

// read returns bytes of complete frames to gws.
func (b *blocking) read(p []byte) (int, error) {
	in, c := b.in, b.in.c
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
		if c.hub.frozen.Load() && b.rested == nil && c.park() {
			return 0, errMoved
		}
		data, pooled, err := b.next()
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
		in.take(data, pooled)
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

// next waits for bytes, or returns those that ended a rest.
func (b *blocking) next() ([]byte, *[]byte, error) {
	if r := b.rested; r != nil {
		b.rested = nil
		return r.data, r.pooled, r.err
	}
	if b.quiet() {
		panic(errRest)
	}
	b.in.busy = false
	b.in.listens()
	return b.in.c.sock.read()
}

// rest waits for bytes outside gws, which halves the stack of a waiting goroutine. A connection
// rests until its first message, and again once it has been quiet but for control frames. One that
// sends messages waits inside gws, so that not every message has to unwind it.
func (b *blocking) rest() {
	for b.quiet() {
		b.in.listens()
		data, pooled, err := b.in.c.sock.read()
		if err == nil && b.pong(data) {
			readPool.Put(pooled)
			continue
		}
		b.rested = &received{data, pooled, err}
		return
	}
}

// pong handles a pong that came alone, without gws and the stack that gws would need.
func (b *blocking) pong(data []byte) bool {
	in := b.in
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

func (b *blocking) quiet() bool { return !b.in.busy && len(b.in.buf) == 0 && !b.in.begun }
