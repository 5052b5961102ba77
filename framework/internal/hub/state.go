package hub

import (
	"encoding/binary"
	"errors"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/packed"
	"wsframe/framework/internal/wire"
)

// TransferVersion is the form in which everything travels to the next process. A process reads no other: what it cannot read is closed
// with 1012 before the move begins.
const TransferVersion = 1

// State is what travels with a connection, beside its descriptor.
type State struct {
	FD       int64
	Auth     auth.Identity
	Remote   string
	Since    time.Time
	Rooms    []string
	Data     []byte // the layer above's
	In       []byte // arrived, not dispatched; a message that has begun from its first fragment on
	Out      []byte // unsent; may begin within a frame
	Frames   int    // in Out
	Busy     bool   // its action still runs in the old process: no frame is dispatched before its end
	Deflate  bool
	Tokens   float64
	LastIn   int64
	LastPing int64
	MsgsIn   int64
	MsgsOut  int64
	BytesIn  int64
	BytesOut int64

	MessageFrom int64 // when a message in In began, in UNIX seconds
	Cuts        []Cut // where Out is cut, if a part of it may be dropped
}

// Cut is a part of a State's Out: frames of one kind.
type Cut struct {
	Bytes, Frames int
	Class         wire.Class
	Key           string
}

const (
	stateBusy = 1 << iota
	stateDeflate
)

// Append encodes the state: its fields in order, as package packed does.
func (s *State) Append(b []byte) []byte {
	var flags byte
	if s.Busy {
		flags |= stateBusy
	}
	if s.Deflate {
		flags |= stateDeflate
	}
	b = append(b, flags)
	for _, n := range s.numbers() {
		b = binary.AppendVarint(b, *n)
	}
	b = binary.AppendVarint(b, s.Since.UnixNano())
	b = binary.AppendVarint(b, int64(s.Frames))
	b = packed.AppendFloat(b, s.Tokens)
	for _, t := range s.texts() {
		b = packed.AppendText(b, *t)
	}
	for _, t := range s.blobs() {
		b = packed.AppendText(b, *t)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Rooms)))
	for _, room := range s.Rooms {
		b = packed.AppendText(b, room)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Cuts)))
	for _, cut := range s.Cuts {
		b = binary.AppendVarint(binary.AppendVarint(b, int64(cut.Bytes)), int64(cut.Frames))
		b = packed.AppendText(append(b, byte(cut.Class)), cut.Key)
	}
	return b
}

func (s *State) numbers() [9]*int64 {
	return [...]*int64{&s.FD, &s.Auth.CTime, &s.LastIn, &s.LastPing, &s.MsgsIn, &s.MsgsOut, &s.BytesIn, &s.BytesOut, &s.MessageFrom}
}

func (s *State) texts() [5]*string {
	return [...]*string{&s.Auth.ID, &s.Auth.Type, &s.Auth.Code, &s.Auth.Nickname, &s.Remote}
}

func (s *State) blobs() [3]*[]byte { return [...]*[]byte{&s.Data, &s.In, &s.Out} }

// States decodes the States of one transfer. It makes each text that many connections share, such as a room's name, once.
type States struct{ known map[string]string }

// maxKnown bounds what States remembers: texts that only one connection has are not worth it.
const maxKnown = 1 << 16

var errState = errors.New("state of a connection cannot be read")

// Decode reads what Append has written, once or several times. What it gives shares b.
func (d *States) Decode(b []byte) (list []State, err error) {
	if d.known == nil {
		d.known = map[string]string{}
	}
	for r := packed.NewReader(b); r.More(); {
		var s State
		if d.state(&r, &s); r.Err() != nil {
			return nil, errState
		}
		list = append(list, s)
	}
	return list, nil
}

func (d *States) state(r *packed.Reader, s *State) {
	flags := r.Byte()
	s.Busy, s.Deflate = flags&stateBusy != 0, flags&stateDeflate != 0
	for _, n := range s.numbers() {
		*n = r.Int()
	}
	s.Since = time.Unix(0, r.Int())
	s.Frames = int(r.Int())
	s.Tokens = r.Float()
	for _, t := range s.texts() {
		*t = d.text(r)
	}
	for _, t := range s.blobs() {
		*t = r.Bytes()
	}
	for n := r.Size(); n > 0 && r.Err() == nil; n-- {
		s.Rooms = append(s.Rooms, d.text(r))
	}
	bytes, frames := 0, 0
	for n := r.Size(); n > 0 && r.Err() == nil; n-- {
		cut := Cut{Bytes: int(r.Int()), Frames: int(r.Int()), Class: wire.Class(r.Byte()), Key: d.text(r)}
		if cut.Bytes < 0 || cut.Bytes > len(s.Out)-bytes || cut.Frames < 0 {
			r.Fail()
		}
		bytes, frames = bytes+cut.Bytes, frames+cut.Frames
		s.Cuts = append(s.Cuts, cut)
	}
	if len(s.Cuts) > 0 && (bytes != len(s.Out) || frames != s.Frames) {
		r.Fail()
	}
}

// text is a text that other States may have, too.
func (d *States) text(r *packed.Reader) string {
	t := r.Bytes()
	if s, ok := d.known[string(t)]; ok {
		return s
	}
	s := string(t)
	if len(d.known) < maxKnown {
		d.known[s] = s
	}
	return s
}
