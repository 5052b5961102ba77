package hub

import (
	"encoding/binary"
	"errors"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
	"wsframe/library/packed"
)

// TransferVersion is the version of the format in which connections move to the next process. A
// process reads no other; connections that it cannot read are closed with 1012 before the move.
const TransferVersion = 1

// State is everything that moves with a connection, beside its descriptor.
type State struct {
	FD       int64
	Auth     auth.Identity
	Remote   string
	Since    time.Time
	Rooms    []string
	Data     []byte  // of the layer above
	In       []byte  // received but not dispatched, with all fragments of an unfinished message
	Out      []byte  // unsent; may begin within a frame
	Frames   int     // frames in Out
	Busy     bool    // an action still runs in the old process, so frames wait for its end
	Deflate  bool    // permessage-deflate was negotiated
	Page     byte    // of a socket.io page; 0 = none
	Tokens   float64 // messages that may still come
	LastIn   int64   // time of the last byte received, in UNIX seconds
	LastPing int64   // time of the last ping sent, in UNIX seconds
	MsgsIn   int64
	MsgsOut  int64
	BytesIn  int64
	BytesOut int64

	MessageFrom int64 // begin of an incomplete message in In, in UNIX seconds
	Cuts        []Cut // parts of Out; nil = no part may be dropped
}

// Cut describes a part of a State's Out: frames of one class.
type Cut struct {
	Bytes, Frames int
	Class         wire.Class
	Key           string
}

const (
	stateBusy = 1 << iota
	stateDeflate
	statePage
)

// Append appends the encoded state: its fields in order, in the format of package packed.
func (s *State) Append(b []byte) []byte {
	var flags byte
	if s.Busy {
		flags |= stateBusy
	}
	if s.Deflate {
		flags |= stateDeflate
	}
	if s.Page != 0 {
		flags |= statePage
	}
	b = append(b, flags)
	if s.Page != 0 {
		b = append(b, s.Page)
	}
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
	b = packed.AppendTexts(b, s.Rooms)
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

// States decodes the States of one transfer. Texts that connections share, such as names of rooms,
// are allocated once.
type States struct{ known map[string]string }

// maxKnown is the most texts that States remembers.
const maxKnown = 1 << 16

var errState = errors.New("state of a connection cannot be read")

// Decode reads any number of states that Append has written. The result shares the memory of b.
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
	if flags&statePage != 0 {
		s.Page = r.Byte()
	}
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

// text reads a text that other States may share.
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
