// Package envelope encodes a push for its way between nodes, with its options, and makes the
// frame that connections get.
//
// A push on the bus is the length of its options as a uvarint, the options as JSON (nothing where
// they are the default), and the reply as JSON. All functions are pure and safe for concurrent
// use.
package envelope

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"wsframe/framework/bus"
	"wsframe/framework/frame"
	"wsframe/framework/internal/wire"
)

// The kinds of messages between nodes (bus.Message.Kind). Key is what the bus orders them by.
const (
	ToRoom   byte = 'P' // Key is the room; the body is a sealed push, here and in the next three
	ToFD     byte = 'F' // the connection's number, in decimal
	ToUID    byte = 'U'
	ToAll    byte = 'A' // no Key
	Position byte = 'H' // Key is the room; Redis answers with the newest offset of its history
	Question byte = 'Q' // package ask
	Login    byte = 'L' // Key is the uid; the body is the new connection's number
	Changed  byte = 'S' // the body is a room, whose Redis set has other members than before
	Refusal  byte = 'X' // Key is the uid; the body is the number of the connection to close
)

// MaxEpoch bounds the epoch of a history, in bytes.
const MaxEpoch = 64

// Delivery is the options of a push. By the zero value the push is never dropped, goes to all
// targets and is not kept.
type Delivery struct {
	Class  wire.Class `json:"c,omitempty"`
	Key    string     `json:"k,omitempty"` // of the class wire.Latest
	Except []int64    `json:"x,omitempty"` // connections that do not get it

	Keep    int           `json:"-"` // length of the history in pushes; 0 = the push is not kept
	Age     time.Duration `json:"-"` // greatest age of a push in the history
	Durable bool          `json:"-"` // the sender waits until the store has the push
}

func (d *Delivery) plain() bool { return d.Class == wire.NeverDrop && len(d.Except) == 0 }

// Add adds connections that do not get the push.
func (d *Delivery) Add(except ...int64) { d.Except = append(slices.Clip(d.Except), except...) }

// Seal encodes a push, whose payload is a reply's JSON object, for the bus.
func Seal(d *Delivery, payload []byte) []byte {
	var head []byte
	if !d.plain() {
		head, _ = json.Marshal(d) // texts and numbers: it cannot fail
	}
	b := binary.AppendUvarint(make([]byte, 0, len(head)+len(payload)+4), uint64(len(head)))
	return append(append(b, head...), payload...)
}

// Open is the inverse of Seal. payload shares the memory of b. Open fails where another version has
// written what this one cannot read.
func Open(b []byte) (d Delivery, payload []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return d, nil, errors.New("a push between nodes cannot be read")
	}
	head := b[n : n+int(size)]
	if payload = b[n+int(size):]; len(payload) < 2 || payload[len(payload)-1] != '}' {
		return d, nil, errors.New("a push between nodes is no object")
	}
	if len(head) > 0 {
		err = json.Unmarshal(head, &d)
	}
	return d, payload, err
}

// AppendPositioned appends the payload with its position in the room's history.
func AppendPositioned(dst, payload []byte, room, epoch string, offset int64) []byte {
	name, _ := json.Marshal(room) // a text: it cannot fail
	dst = append(dst, payload[:len(payload)-1]...)
	dst = append(append(dst, `,"room":`...), name...)
	dst = strconv.AppendInt(append(dst, `,"offset":`...), offset, 10)
	return append(strconv.AppendQuote(append(dst, `,"epoch":`...), epoch), '}')
}

// MaxPosition bounds the bytes that AppendPositioned adds to a payload.
func MaxPosition(room string) int {
	return len(`,"room":"","offset":,"epoch":""`) + len(room) + MaxEpoch + len("9223372036854775807")
}

// Frame makes the frame of a push without a position. payload begins with wire.Headroom free
// bytes, and belongs to the frame from now on.
func (d *Delivery) Frame(payload []byte) wire.Frame {
	f := wire.InPlace(payload)
	if !d.plain() {
		f = f.With(d.handling())
	}
	return f
}

// FrameOf makes the frame of a push that came as m, with its position where it has one.
func (d *Delivery) FrameOf(payload []byte, m *bus.Message) wire.Frame {
	b := make([]byte, wire.Headroom, wire.Headroom+len(payload)+96)
	if m.Offset == 0 {
		return d.Frame(append(b, payload...))
	}
	x := d.handling()
	x.Offset, x.Epoch = m.Offset, m.Epoch
	return wire.InPlace(AppendPositioned(b, payload, m.Key, m.Epoch, m.Offset)).With(x)
}

// Notice makes a frame that the framework sends by itself, with status 200. param must be of
// texts and numbers, whose encoding cannot fail.
func Notice(event, info string, param any) wire.Frame {
	r := &frame.Reply{Status: 200, Event: event, Info: info, Param: param}
	b, _ := frame.AppendReply(make([]byte, wire.Headroom, 256), r, nil)
	return wire.InPlace(b)
}

func (d *Delivery) handling() wire.Handling {
	return wire.Handling{Class: d.Class, Key: d.Key, Except: d.Except}
}
