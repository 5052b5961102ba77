package hub

import "wsframe/framework/internal/wire"

// frames checks the frames that arrive and finds the complete ones. Because gws gets only these, a
// claimed length costs no memory, nothing waits inside a frame, and no malformed header reaches
// gws. A move takes along the bytes that are not dispatched and the fragments of an unfinished
// message. The type needs neither socket nor connection.
type frames struct {
	cfg *Config
	allowance

	// buf[off:ready] are complete frames for gws, buf[ready:] is the beginning of one.
	buf        []byte
	off, ready int
	pooled     *[]byte // pooled buffer that contains buf, or nil

	deflate bool // permessage-deflate was negotiated; set before the reader starts
	busy    bool // a data frame came since the reader last waited

	// The message that gws assembles.
	begun     bool
	size      int
	fragments int
	parts     []byte // raw frames, kept for a move

	// ahead handles frames during a read ahead, before the frames that wait; nil = they wait, too.
	ahead func(h wire.Header, raw []byte) (taken bool)
	// fault was found at ready. It takes effect once all frames before it are dispatched.
	fault wire.Close
}

func (f *frames) receive(data []byte) {
	f.buf = append(f.buf, data...)
	f.scan()
}

// scan moves ready over the complete frames in buf and checks each header as soon as it is there.
func (f *frames) scan() {
	for f.fault.Code == 0 {
		h, ok := wire.ParseHeader(f.buf[f.ready:])
		if !ok {
			return
		}
		if f.fault = f.checkHeader(h); f.fault.Code != 0 {
			return
		}
		total := h.Size + int(h.Length)
		if len(f.buf)-f.ready < total {
			return
		}
		if f.fault = f.charge(h); f.fault.Code != 0 {
			return
		}
		raw := f.buf[f.ready : f.ready+total]
		if f.ahead != nil && f.ahead(h, raw) {
			f.buf = append(f.buf[:f.ready], f.buf[f.ready+total:]...)
			continue
		}
		f.advance(h, raw)
		f.ready += total
	}
}

// checkHeader checks a header by RFC 6455 §5.2-5.5 and the configured limits, before its payload
// arrives.
func (f *frames) checkHeader(h wire.Header) wire.Close {
	cfg := f.cfg
	control := h.Control()
	switch {
	case h.RSV != 0 && !(f.deflate && h.RSV == 0x40 && !control && h.Op != wire.OpContinuation):
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
	case h.Length > uint64(cfg.MessageBytes) || f.size+int(h.Length) > cfg.MessageBytes:
		return wire.Close{Code: wire.CloseTooLarge, Reason: "message too large"}
	case (h.Op == wire.OpContinuation) != f.begun:
		return wire.Close{Code: wire.CloseProtocolError, Reason: "unexpected continuation"}
	case f.fragments >= cfg.Fragments:
		return wire.Close{Code: wire.ClosePolicy, Reason: "too many fragments"}
	}
	return wire.Close{}
}

// charge takes a token for a message or a control frame; a close frame is free.
func (f *frames) charge(h wire.Header) wire.Close {
	if f.cfg.MessageRate == 0 || !h.Fin || h.Op == wire.OpClose {
		return wire.Close{}
	}
	if f.tokens < 1 {
		return wire.Close{Code: wire.ClosePolicy, Reason: "too many messages"}
	}
	f.tokens--
	return wire.Close{}
}

// advance notes a complete frame.
func (f *frames) advance(h wire.Header, raw []byte) {
	if h.Control() {
		return
	}
	f.busy = true
	if h.Fin {
		f.begun, f.size, f.fragments, f.parts = false, 0, 0, nil
		return
	}
	f.begun = true
	f.size += int(h.Length)
	f.fragments++
	f.parts = append(f.parts, raw...)
}

// keep drops the frames that gws has read and copies the beginning of the next out of the pooled
// buffer.
func (f *frames) keep() {
	rest := f.buf[f.ready:]
	switch {
	case len(rest) == 0:
		f.release()
	case f.pooled != nil:
		own := append(make([]byte, 0, 2*len(rest)), rest...)
		f.release()
		f.buf = own
	default:
		f.buf = f.buf[:copy(f.buf, rest)]
	}
	f.off, f.ready = 0, 0
}

// release returns the pooled buffer.
func (f *frames) release() {
	if f.pooled != nil {
		readPool.Put(f.pooled)
	}
	f.buf, f.pooled = nil, nil
}

// more reports whether further complete frames of the same read wait.
func (f *frames) more() bool { return f.off < f.ready }
