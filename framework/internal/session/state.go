package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"

	"wsframe/framework/internal/packed"
	"wsframe/framework/internal/room"
)

// state is what travels of a session. It is empty for most connections.
type state struct {
	Keys      []string
	Listeners []string
	Announced []string
	Untold    []string // of these
	UIDs      []string // where they are not the token's id alone
	User      string   // announced as, where that is not the token's id
	Unbound   bool     // from the token's id, too
	Values    map[string]json.RawMessage
	Seen      map[string]room.Position
	Marks     map[string]room.Position
	Rivals    []rival
}

var errSession = errors.New("session of a connection cannot be read")

func (s *state) lists() [5]*[]string {
	return [...]*[]string{&s.Keys, &s.Listeners, &s.Announced, &s.Untold, &s.UIDs}
}

func (s *state) places() [2]*map[string]room.Position {
	return [...]*map[string]room.Position{&s.Seen, &s.Marks}
}

// encode gives the state's bytes, none where nothing is in it. Texts are copied, not looked at: what clients chose to say costs nothing
// more than its length.
func (s *state) encode() []byte {
	b := []byte{0}
	if s.Unbound {
		b[0] = 1
	}
	empty := !s.Unbound && s.User == "" && len(s.Values) == 0 && len(s.Rivals) == 0
	b = packed.AppendText(b, s.User)
	for _, list := range s.lists() {
		empty = empty && len(*list) == 0
		b = binary.AppendUvarint(b, uint64(len(*list)))
		for _, text := range *list {
			b = packed.AppendText(b, text)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Values)))
	for k, v := range s.Values {
		b = packed.AppendText(packed.AppendText(b, k), v)
	}
	for _, places := range s.places() {
		empty = empty && len(*places) == 0
		b = binary.AppendUvarint(b, uint64(len(*places)))
		for name, p := range *places {
			b = packed.AppendText(binary.AppendVarint(packed.AppendText(b, name), p.Offset), p.Epoch)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Rivals)))
	for _, r := range s.Rivals {
		b = binary.AppendVarint(packed.AppendText(b, r.uid), r.fd)
	}
	if empty {
		return nil
	}
	return b
}

func (s *state) decode(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	r := packed.NewReader(b)
	s.Unbound = r.Byte() == 1
	s.User = r.Text()
	for _, list := range s.lists() {
		for n := r.Size(); n > 0 && r.Err() == nil; n-- {
			*list = append(*list, r.Text())
		}
	}
	for n := r.Size(); n > 0 && r.Err() == nil; n-- {
		if s.Values == nil {
			s.Values = map[string]json.RawMessage{}
		}
		k := r.Text()
		s.Values[k] = slices.Clone(r.Bytes())
	}
	for _, places := range s.places() {
		for n := r.Size(); n > 0 && r.Err() == nil; n-- {
			if *places == nil {
				*places = map[string]room.Position{}
			}
			name := r.Text()
			(*places)[name] = room.Position{Offset: r.Int(), Epoch: r.Text()}
		}
	}
	for n := r.Size(); n > 0 && r.Err() == nil; n-- {
		s.Rivals = append(s.Rivals, rival{r.Text(), r.Int()})
	}
	if r.End() != nil {
		return errSession
	}
	return nil
}
