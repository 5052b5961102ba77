package frame

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// Why a request is refused. The text is sent as the reason of the close frame, so it holds no client's words.
var (
	ErrSyntax       = errors.New("not valid JSON")
	ErrNotObject    = errors.New("not a JSON object")
	ErrTooDeep      = errors.New("JSON is nested too deep")
	ErrDuplicateKey = errors.New("duplicate key")
	ErrMethod       = errors.New("method must be a string")
	ErrTooManyKeys  = errors.New("too many keys")
)

// MaxKeys is how many keys the top level of a request may have.
const MaxKeys = 256

// Request is a decoded frame. Its slices point into the decoded bytes where they can.
type Request struct {
	Method []byte // nil where the key is absent
	ID     []byte // the raw JSON string or number, nil where there is none
	Body   []byte // the whole object, without the reserved keys
}

// Options of Decode.
type Options struct {
	MaxDepth int // of nested objects and lists; 0 = 32
}

// Decode validates data as JSON (RFC 8259) and finds what the framework needs, in one pass and without allocating unless
// a key has to be taken out. At the top level a key may stand only once, and fd, auth and code are removed in every spelling.
func Decode(data []byte, o Options) (Request, error) {
	s := scanner{b: data, depth: o.MaxDepth}
	if s.depth == 0 {
		s.depth = 32
	}
	s.space()
	if s.i == len(data) {
		return Request{}, ErrSyntax
	}
	if data[s.i] != '{' {
		if err := s.value(); err != nil {
			return Request{}, err
		}
		return Request{}, ErrNotObject
	}
	r, err := s.request()
	if err != nil {
		return Request{}, err
	}
	s.space()
	if s.i != len(data) {
		return Request{}, ErrSyntax
	}
	return r, nil
}

// span is a part of the data.
type span struct{ from, to int }

// request reads the top-level object.
func (s *scanner) request() (r Request, err error) {
	var (
		keyStore [16]span
		keys     = keyStore[:0]
		cuts     []span // members to be taken out
		start    = s.i
	)
	s.i++
	s.depth--
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.i++
		r.Body = s.b[start:s.i]
		return r, nil
	}
	for {
		s.space()
		from := s.i
		escaped, err := s.str()
		if err != nil {
			return r, err
		}
		key := s.b[from+1 : s.i-1]
		if escaped {
			key = unescape(s.b[from:s.i])
		}
		for _, k := range keys {
			known := s.b[k.from+1 : k.to-1]
			if bytes.IndexByte(known, '\\') >= 0 {
				known = unescape(s.b[k.from:k.to])
			}
			if string(known) == string(key) {
				return r, ErrDuplicateKey
			}
		}
		if len(keys) == MaxKeys {
			return r, ErrTooManyKeys
		}
		keys = append(keys, span{from, s.i})
		s.space()
		if s.i == len(s.b) || s.b[s.i] != ':' {
			return r, ErrSyntax
		}
		s.i++
		s.space()
		value := s.i
		if err := s.value(); err != nil {
			return r, err
		}
		switch raw := s.b[value:s.i]; {
		case string(key) == "method":
			if raw[0] != '"' {
				return r, ErrMethod
			}
			if r.Method = raw[1 : len(raw)-1]; bytes.IndexByte(raw, '\\') >= 0 {
				r.Method = unescape(raw)
			}
		case string(key) == "id":
			// Of another type it is the action's own data and not echoed.
			if raw[0] == '"' || raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
				r.ID = raw
			}
		case reserved(key):
			cuts = append(cuts, span{from, s.i})
		}
		s.space()
		if s.i == len(s.b) {
			return r, ErrSyntax
		}
		switch s.b[s.i] {
		case ',':
			s.i++
			continue
		case '}':
			s.i++
			r.Body = s.b[start:s.i]
			if cuts != nil {
				r.Body = without(s.b[:s.i], start, keys, cuts)
			}
			return r, nil
		}
		return r, ErrSyntax
	}
}

// reserved tells whether a decoder could take key for fd, auth or code: they are compared without regard to case, as
// encoding/json matches fields.
func reserved(key []byte) bool {
	switch len(key) {
	case 2:
		return strings.EqualFold(string(key), "fd")
	case 4:
		return strings.EqualFold(string(key), "auth") || strings.EqualFold(string(key), "code")
	}
	return false
}

// without copies the object at b[start:] without the members in cuts.
func without(b []byte, start int, keys, cuts []span) []byte {
	out := append(make([]byte, 0, len(b)-start), '{')
	for i, k := range keys {
		if len(cuts) > 0 && cuts[0].from == k.from {
			cuts = cuts[1:]
			continue
		}
		end := len(b) - 1
		if i+1 < len(keys) {
			end = keys[i+1].from
			for b[end-1] != ',' { // white space before the next key; the comma is there
				end--
			}
			end--
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, b[k.from:end]...)
	}
	return append(out, '}')
}

// unescape decodes a JSON string that the scanner has accepted.
func unescape(quoted []byte) []byte {
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return quoted // cannot be: the scanner accepts what encoding/json accepts
	}
	return []byte(s)
}
