package gateway

import (
	"wsframe/framework/internal/wire"
	"wsframe/library/phpserialize"
)

// Message is a data message for clients. It is immutable, and its frame is encoded once for all
// receivers.
type Message struct {
	Binary  bool
	Payload []byte

	frame wire.Frame
}

// NewMessage makes a text message, of a copy of the payload.
func NewMessage(payload []byte) Message {
	return textMessage(append(make([]byte, wire.Headroom, wire.Headroom+len(payload)), payload...))
}

// textMessage makes a text message of buf[wire.Headroom:]. The message owns buf.
func textMessage(buf []byte) Message {
	return Message{Payload: buf[wire.Headroom:], frame: wire.InPlace(buf)}
}

// Frame returns the message as a WebSocket frame, which receivers share.
func (m Message) Frame() wire.Frame { return m.frame }

// message reads the body of a command that sends. An array becomes JSON, and a complete WebSocket
// frame keeps its opcode.
func message(f Frame) (m Message, reason string) {
	switch {
	case f.Flag&flagFrame != 0:
		return unframe(f.Body)
	case f.Flag&FlagBytes != 0:
		if f.room != nil {
			return textMessage(f.room), ""
		}
		return NewMessage(f.Body), ""
	}
	v, err := phpserialize.Parse(f.Body)
	if err != nil || v.Kind() == phpserialize.Null {
		return m, "body"
	}
	doc, err := phpserialize.AppendJSON(make([]byte, wire.Headroom), v)
	if err != nil {
		return m, "body"
	}
	return textMessage(doc), ""
}

// unframe reads a server's frame, which must be one whole unmasked data frame (RFC 6455 §5.2)
// with the shortest form of its length.
func unframe(b []byte) (m Message, reason string) {
	h, ok := wire.ParseHeader(b)
	switch {
	case !ok, !h.Fin, h.RSV != 0, h.Masked, h.Op != wire.OpText && h.Op != wire.OpBinary,
		h.Length != uint64(len(b)-h.Size), wire.FrameLen(int(h.Length)) != len(b):
		return m, "frame"
	}
	return Message{Binary: h.Op == wire.OpBinary, Payload: b[h.Size:], frame: wire.Frame{Bytes: b, Count: 1}}, ""
}
