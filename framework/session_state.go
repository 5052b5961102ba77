package framework

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
)

// sessionState is what travels of a session. It is empty for most connections.
type sessionState struct {
	Keys      []string
	Listeners []string
	Announced []string
	Untold    []string // of these
	UIDs      []string // where they are not the token's id alone
	User      string   // announced as, where that is not the token's id
	Unbound   bool     // from the token's id, too
	Values    map[string]json.RawMessage
	Seen      map[string]position
	Marks     map[string]position
	Rivals    []rival `json:"-"`
}

// sessionForm is the first byte of an encoded state. What begins otherwise is the JSON of before.
const sessionForm = 1

// rivalsForm is that of a state with Rivals, which follow the rest.
const rivalsForm = 2

var errSession = errors.New("session of a connection cannot be read")

func (s *sessionState) lists() [5]*[]string {
	return [...]*[]string{&s.Keys, &s.Listeners, &s.Announced, &s.Untold, &s.UIDs}
}

func (s *sessionState) places() [2]*map[string]position {
	return [...]*map[string]position{&s.Seen, &s.Marks}
}

// encode gives the state's bytes, none where nothing is in it. Texts are copied, not looked at: what clients chose to say costs nothing
// more than its length.
func (s *sessionState) encode() []byte {
	b := []byte{sessionForm, 0}
	if s.Unbound {
		b[1] = 1
	}
	empty := !s.Unbound && s.User == "" && len(s.Values) == 0
	b = appendText(b, s.User)
	for _, list := range s.lists() {
		empty = empty && len(*list) == 0
		b = binary.AppendUvarint(b, uint64(len(*list)))
		for _, text := range *list {
			b = appendText(b, text)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Values)))
	for k, v := range s.Values {
		b = appendText(appendText(b, k), string(v))
	}
	for _, places := range s.places() {
		empty = empty && len(*places) == 0
		b = binary.AppendUvarint(b, uint64(len(*places)))
		for room, p := range *places {
			b = appendText(binary.AppendVarint(appendText(b, room), p.Offset), p.Epoch)
		}
	}
	if empty && len(s.Rivals) == 0 {
		return nil
	}
	if len(s.Rivals) > 0 { // rare
		b[0] = rivalsForm
		b = binary.AppendUvarint(b, uint64(len(s.Rivals)))
		for _, r := range s.Rivals {
			b = binary.AppendVarint(appendText(b, r.uid), r.fd)
		}
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func (s *sessionState) decode(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if b[0] != sessionForm && b[0] != rivalsForm {
		return json.Unmarshal(b, s)
	}
	r := sessionReader{b: b[1:]}
	s.Unbound = string(r.take(1)) == "\x01"
	s.User = r.text()
	for _, list := range s.lists() {
		for n := r.size(); n > 0 && !r.bad; n-- {
			*list = append(*list, r.text())
		}
	}
	for n := r.size(); n > 0 && !r.bad; n-- {
		if s.Values == nil {
			s.Values = map[string]json.RawMessage{}
		}
		k := r.text()
		s.Values[k] = slices.Clone(r.take(r.size()))
	}
	for _, places := range s.places() {
		for n := r.size(); n > 0 && !r.bad; n-- {
			if *places == nil {
				*places = map[string]position{}
			}
			room := r.text()
			offset := r.number()
			(*places)[room] = position{Offset: offset, Epoch: r.text()}
		}
	}
	if b[0] == rivalsForm {
		for n := r.size(); n > 0 && !r.bad; n-- {
			s.Rivals = append(s.Rivals, rival{r.text(), r.number()})
		}
	}
	if r.bad || len(r.b) > 0 {
		return errSession
	}
	return nil
}

// sessionReader takes values from the front of b; bad stands after the first that is not there.
type sessionReader struct {
	b   []byte
	bad bool
}

func (r *sessionReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

func (r *sessionReader) text() string { return string(r.take(r.size())) }

func (r *sessionReader) size() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(uint64(max(n, 0)))
	r.bad = r.bad || n <= 0
	return v
}

func (r *sessionReader) number() int64 {
	v, n := binary.Varint(r.b)
	r.take(uint64(max(n, 0)))
	r.bad = r.bad || n <= 0
	return v
}
