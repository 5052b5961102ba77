package hub

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

// TransferVersion is the form in which States travel. A new process reads this one and those before: 2 had no message time and
// no cuts, 1 was a JSON array.
const TransferVersion = 3

// State is what travels with a connection, beside its descriptor.
type State struct {
	FD       int64
	Auth     auth.Identity
	Remote   string
	Since    time.Time
	Rooms    []string        `json:",omitempty"`
	Data     json.RawMessage `json:",omitempty"` // the layer above's
	In       []byte          `json:",omitempty"` // arrived, not dispatched; a message that has begun from its first fragment on
	Out      []byte          `json:",omitempty"` // unsent; may begin within a frame
	Frames   int             `json:",omitempty"` // in Out
	Busy     bool            `json:",omitempty"` // its action still runs in the old process: no frame is dispatched before its end
	Deflate  bool            `json:",omitempty"`
	Tokens   float64
	LastIn   int64
	LastPing int64
	MsgsIn   int64
	MsgsOut  int64
	BytesIn  int64
	BytesOut int64

	MessageFrom int64 `json:",omitempty"` // when a message in In began, in UNIX seconds
	Cuts        []Cut `json:",omitempty"` // where Out is cut, if a part of it may be dropped
}

// Cut is a part of a State's Out: frames of one kind.
type Cut struct {
	Bytes, Frames int
	Class         wire.Class
	Key           string
}

// queue takes what waits in the outbox.
func (s *State) queue(o *outbox) {
	droppable := false
	for i := range o.queue {
		k := &o.queue[i]
		s.Out = append(s.Out, k.b...)
		s.Frames += k.n
		droppable = droppable || k.x.Droppable()
	}
	for i := range o.queue {
		if !droppable {
			return
		}
		cut := Cut{Bytes: len(o.queue[i].b), Frames: o.queue[i].n}
		if x := o.queue[i].x; x != nil {
			cut.Class, cut.Key = x.Class, x.Key
		}
		s.Cuts = append(s.Cuts, cut)
	}
}

// restore is queue's other side.
func (o *outbox) restore(s *State, cfg *Config) {
	if len(s.Out) == 0 {
		return
	}
	o.bytes, o.frames = len(s.Out), s.Frames
	o.extra = load{min(o.bytes, cfg.OutboxBytes), min(o.frames, cfg.OutboxMessages)} // nobody knows how much of it came during the move
	if len(s.Cuts) == 0 {
		o.queue = []chunk{{b: s.Out, n: s.Frames, owned: true}}
		return
	}
	b := s.Out
	for _, cut := range s.Cuts {
		k := chunk{b: b[:cut.Bytes:cut.Bytes], n: cut.Frames}
		if cut.Class != wire.NeverDrop {
			k.x = &wire.Handling{Class: cut.Class, Key: cut.Key}
		}
		o.queue, b = append(o.queue, k), b[cut.Bytes:]
	}
}

const (
	stateBusy = 1 << iota
	stateDeflate
)

// Append encodes the state: its fields in order, numbers as varints, texts behind their length.
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
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(s.Tokens))
	for _, t := range s.texts() {
		b = appendText(b, *t)
	}
	b = appendText(b, s.Data)
	b = appendText(b, s.In)
	b = appendText(b, s.Out)
	b = binary.AppendUvarint(b, uint64(len(s.Rooms)))
	for _, room := range s.Rooms {
		b = appendText(b, room)
	}
	b = binary.AppendVarint(b, s.MessageFrom)
	b = binary.AppendUvarint(b, uint64(len(s.Cuts)))
	for _, cut := range s.Cuts {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(cut.Bytes)), uint64(cut.Frames))
		b = appendText(append(b, byte(cut.Class)), cut.Key)
	}
	return b
}

func (s *State) numbers() [8]*int64 {
	return [...]*int64{&s.FD, &s.Auth.CTime, &s.LastIn, &s.LastPing, &s.MsgsIn, &s.MsgsOut, &s.BytesIn, &s.BytesOut}
}

func (s *State) texts() [5]*string {
	return [...]*string{&s.Auth.ID, &s.Auth.Type, &s.Auth.Code, &s.Auth.Nickname, &s.Remote}
}

func appendText[T string | []byte | json.RawMessage](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// States encodes and decodes the States of one transfer. The decoder makes each text that many connections share, such as a
// room's name, once.
type States struct{ known map[string]string }

var errState = errors.New("state of a connection cannot be read")

// Decode reads what Append and, in version 1, encoding/json wrote. What it gives shares b.
func (d *States) Decode(b []byte, version int) ([]State, error) {
	if version < 2 {
		var list []State
		err := json.Unmarshal(b, &list)
		return list, err
	}
	if d.known == nil {
		d.known = map[string]string{}
	}
	var list []State
	for r := (stateReader{b: b, known: d.known}); len(r.b) > 0; {
		var s State
		if r.state(&s, version); r.bad {
			return nil, errState
		}
		list = append(list, s)
	}
	return list, nil
}

// stateReader takes values from the front of b; bad stands after the first that is not there.
type stateReader struct {
	b     []byte
	bad   bool
	known map[string]string
}

func (r *stateReader) state(s *State, version int) {
	flags := r.take(1)
	if r.bad {
		return
	}
	s.Busy, s.Deflate = flags[0]&stateBusy != 0, flags[0]&stateDeflate != 0
	for _, n := range s.numbers() {
		*n = r.number()
	}
	s.Since = time.Unix(0, r.number())
	s.Frames = int(r.number())
	if t := r.take(8); !r.bad {
		s.Tokens = math.Float64frombits(binary.BigEndian.Uint64(t))
	}
	for _, t := range s.texts() {
		*t = r.shared()
	}
	s.Data, s.In, s.Out = r.bytes(), r.bytes(), r.bytes()
	for n := r.size(); n > 0 && !r.bad; n-- {
		s.Rooms = append(s.Rooms, r.shared())
	}
	if version < 3 {
		return
	}
	s.MessageFrom = r.number()
	bytes, frames := 0, 0
	for n := r.size(); n > 0 && !r.bad; n-- {
		cut := Cut{Bytes: int(r.size()), Frames: int(r.size())}
		if class := r.take(1); !r.bad {
			cut.Class = wire.Class(class[0])
		}
		cut.Key = r.shared()
		r.bad = r.bad || cut.Bytes < 0 || cut.Bytes > len(s.Out)-bytes || cut.Frames < 0
		bytes, frames = bytes+cut.Bytes, frames+cut.Frames
		s.Cuts = append(s.Cuts, cut)
	}
	r.bad = r.bad || len(s.Cuts) > 0 && (bytes != len(s.Out) || frames != s.Frames)
}

func (r *stateReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

func (r *stateReader) number() int64 {
	v, n := binary.Varint(r.b)
	r.take(uint64(max(n, 0)))
	r.bad = r.bad || n <= 0
	return v
}

func (r *stateReader) size() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(uint64(max(n, 0)))
	r.bad = r.bad || n <= 0
	return v
}

// bytes is nil where there are none.
func (r *stateReader) bytes() []byte {
	if n := r.size(); n > 0 {
		return r.take(n)
	}
	return nil
}

func (r *stateReader) shared() string {
	t := r.bytes()
	if s, ok := r.known[string(t)]; ok {
		return s
	}
	s := string(t)
	if len(r.known) < 1<<16 { // texts that only one connection has are not worth it
		r.known[s] = s
	}
	return s
}
