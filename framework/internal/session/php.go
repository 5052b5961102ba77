package session

import (
	"encoding/binary"
	"slices"

	"wsframe/library/packed"
)

// PHP is the part of a session that PHP programs keep with a connection (package clients).
type PHP struct {
	UID     string // bound by PHP, as the hub's uid; "" = none
	Bytes   []byte // PHP's serialize() of its own session; immutable
	Grouped bool   // PHP has put the connection into a room
	Foreign bool   // the connection came to the gateway's own port
	Events  []byte // Foreign's state during a move
}

// Foreign handles a connection whose messages are not routed: of the gateway's own port, or of a
// socket.io page.
type Foreign interface {
	Message(payload []byte) // in the connection's own goroutine; may wait
	// MessageInline is Message that returns false where it would wait.
	MessageInline(payload []byte) bool
	Closed() // once, at the end
}

// PHPForeign is a Foreign of the gateway's own port.
type PHPForeign interface {
	Foreign
	Export() []byte // called under the session's lock
}

const (
	phpGrouped = 1 << iota
	phpForeign
)

func (p *PHP) append(b []byte) []byte {
	var flags byte
	if p.Grouped {
		flags |= phpGrouped
	}
	if p.Foreign {
		flags |= phpForeign
	}
	b = packed.AppendText(append(b, flags), p.UID)
	b = append(binary.AppendUvarint(b, uint64(len(p.Bytes))), p.Bytes...)
	return append(binary.AppendUvarint(b, uint64(len(p.Events))), p.Events...)
}

func (p *PHP) read(r *packed.Reader) {
	flags := r.Byte()
	p.Grouped, p.Foreign = flags&phpGrouped != 0, flags&phpForeign != 0
	p.UID = r.Text()
	p.Bytes, p.Events = slices.Clone(r.Bytes()), slices.Clone(r.Bytes())
}
