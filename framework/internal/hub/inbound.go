package hub

import (
	"errors"
	"io"
	"time"

	"wsframe/framework/internal/wire"
)

// inbound follows the frames that arrive and gives gws complete ones only. So a claimed length costs no memory, gws
// never waits inside a frame, no header reaches gws that could harm it, and what must travel at a move is known: the
// bytes not given yet, and the fragments of a message that has begun.
//
// It belongs to the connection's reader goroutine.
type inbound struct {
	c *Conn

	// buf[off:ready] are complete frames for gws, buf[ready:] is the begin of one.
	buf        []byte
	off, ready int
	pooled     *[]byte // buf lies in this pooled buffer

	// The message that is being assembled by gws.
	begun     bool
	size      int
	fragments int
	parts     []byte // its raw frames, kept for a move
	timing    bool   // messageFrom is set

	tokens  float64 // messages that may still come, refilled at each read
	filled  time.Time
	seconds int64         // of Hub.clock at that time
	lost    time.Duration // likewise
	deaf    time.Duration // for so long nobody has read since then

	control func(h wire.Header, raw []byte) (taken bool) // of frames that are read ahead; nil: gws gets them
	brimful bool                                         // the last look ahead has left bytes in the socket; guarded by Conn.mu

	busy   bool // a message came, or a part of one, since the reader last waited
	rested *read

	binary bool       // the message being handled came as binary
	fault  wire.Close // found behind ready; takes effect when all before it was dispatched
	failed bool       // the socket gave an error or EOF
}

func (in *inbound) init(c *Conn) {
	in.c = c
	in.tokens, in.filled = float64(c.hub.cfg.MessageBurst), c.hub.cfg.now()
	in.seconds, in.lost = c.hub.clock.seconds.Load(), time.Duration(c.hub.clock.lost.Load())
}

// arrived notes that n bytes came.
func (in *inbound) arrived(n int) {
	in.c.lastIn.Store(in.c.hub.clock.seconds.Load())
	in.c.bytesIn.Add(int64(n))
	in.refill()
}

// refill is called once a read: the clock is not asked for each message. A silent client saves up the burst at most. Time in which
// nobody could read is the server's own: what came meanwhile is let through in full.
func (in *inbound) refill() {
	cfg := &in.c.hub.cfg
	if cfg.MessageRate == 0 {
		return
	}
	now := cfg.now()
	rate, burst := float64(cfg.MessageRate), float64(cfg.MessageBurst)
	lost := in.c.hub.clock.lostAt(now)
	gap := lost - in.lost
	heard := now.Sub(in.filled) - in.deaf - gap
	if in.c.reader.Load() != listening {
		in.deaf, heard = in.deaf+heard, 0
	}
	if heard > time.Second { // nothing is left of what had waited
		in.tokens, in.deaf = min(in.tokens, burst), 0
	}
	in.tokens = max(in.tokens, min(burst, in.tokens+heard.Seconds()*rate)) + (in.deaf+gap).Seconds()*rate
	in.filled, in.seconds, in.lost, in.deaf = now, in.c.hub.clock.seconds.Load(), lost, 0
}

// listens notes that the reader is about to wait: what has passed since it read was the server's time.
func (in *inbound) listens() {
	if in.c.hub.cfg.MessageRate > 0 && in.c.hub.clock.seconds.Load() != in.seconds { // less than a tick is the burst's matter
		in.deaf = in.c.hub.cfg.now().Sub(in.filled)
	}
}

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

// more tells whether further complete frames of the same read wait.
func (in *inbound) more() bool { return in.off < in.ready }

func (in *inbound) receive(data []byte) {
	in.buf = append(in.buf, data...)
	in.scan()
}

// scan moves ready over the complete frames in buf and checks each header as soon as it is there.
func (in *inbound) scan() {
	for in.fault.Code == 0 {
		h, ok := wire.ParseHeader(in.buf[in.ready:])
		if !ok {
			return
		}
		if in.fault = in.checkHeader(h); in.fault.Code != 0 {
			return
		}
		total := h.Size + int(h.Length)
		if len(in.buf)-in.ready < total {
			return
		}
		if in.fault = in.charge(h); in.fault.Code != 0 {
			return
		}
		raw := in.buf[in.ready : in.ready+total]
		if in.control != nil && h.Control() && in.control(h, raw) {
			in.buf = append(in.buf[:in.ready], in.buf[in.ready+total:]...)
			continue
		}
		in.advance(h, raw)
		in.ready += total
	}
}

// checkHeader holds RFC 6455 §5.2-5.5 and our limits against a header, before its payload arrives.
func (in *inbound) checkHeader(h wire.Header) wire.Close {
	cfg := &in.c.hub.cfg
	control := h.Control()
	switch {
	case h.RSV != 0 && !(in.c.deflate && h.RSV == 0x40 && !control && h.Op != wire.OpContinuation):
		return wire.Close{Code: wire.CloseProtocolError, Reason: "reserved bits set"}
	case !h.Masked:
		return wire.Close{Code: wire.CloseProtocolError, Reason: "frame is not masked"}
	case h.Op > wire.OpBinary && h.Op < wire.OpClose, h.Op > wire.OpPong:
		return wire.Close{Code: wire.CloseProtocolError, Reason: "reserved opcode"}
	case control && !h.Fin:
		return wire.Close{Code: wire.CloseProtocolError, Reason: "fragmented control frame"}
	case control && h.Length > wire.MaxControl:
		return wire.Close{Code: wire.CloseProtocolError, Reason: "control frame too long"}
	case control:
		return wire.Close{}
	case h.Length > uint64(cfg.MessageBytes) || in.size+int(h.Length) > cfg.MessageBytes:
		return wire.Close{Code: wire.CloseTooLarge, Reason: "message too large"}
	case (h.Op == wire.OpContinuation) != in.begun:
		return wire.Close{Code: wire.CloseProtocolError, Reason: "unexpected continuation"}
	case in.fragments >= cfg.Fragments:
		return wire.Close{Code: wire.ClosePolicy, Reason: "too many fragments"}
	}
	return wire.Close{}
}

// charge takes one from the connection's rate for a message or a control frame; a close frame is free.
func (in *inbound) charge(h wire.Header) wire.Close {
	if in.c.hub.cfg.MessageRate == 0 || !h.Fin || h.Op == wire.OpClose {
		return wire.Close{}
	}
	if in.tokens < 1 {
		return wire.Close{Code: wire.ClosePolicy, Reason: "too many messages"}
	}
	in.tokens--
	return wire.Close{}
}

// advance notes a complete frame.
func (in *inbound) advance(h wire.Header, raw []byte) {
	if h.Control() {
		return
	}
	in.busy = true
	if h.Fin {
		in.begun, in.size, in.fragments, in.parts = false, 0, 0, nil
		return
	}
	in.begun = true
	in.size += int(h.Length)
	in.fragments++
	in.parts = append(in.parts, raw...)
}

// keep lets go of the frames that were given and keeps the begin of the next in memory of its own.
func (in *inbound) keep() {
	rest := in.buf[in.ready:]
	switch {
	case len(rest) == 0:
		in.release()
	case in.pooled != nil:
		own := append(make([]byte, 0, 2*len(rest)), rest...)
		in.release()
		in.buf = own
	default:
		in.buf = in.buf[:copy(in.buf, rest)]
	}
	in.off, in.ready = 0, 0
}

// release gives the pooled buffer back.
func (in *inbound) release() {
	if in.pooled != nil {
		readPool.Put(in.pooled)
	}
	in.buf, in.pooled = nil, nil
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
