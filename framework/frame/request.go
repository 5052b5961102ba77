package frame

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"wsframe/framework/internal/ijson"
)

// Errors for which a request is refused. Their text is sent as the reason of the close frame, so it
// contains nothing that the client sent.
var (
	ErrUTF8         = errors.New("not valid UTF-8")
	ErrSyntax       = errors.New("not valid JSON")
	ErrNotObject    = errors.New("not a JSON object")
	ErrTooDeep      = errors.New("JSON is nested too deep")
	ErrDuplicateKey = errors.New("duplicate key")
	ErrMethod       = errors.New("method must be a string")
)

// NumberError reports a number beyond the range of a double, which not every reader can represent
// (RFC 7493 section 2.2). The frame is well-formed, and Decode returns its ID, so that it can be
// answered.
type NumberError struct {
	Field string // path of the number, like param.list[2]
}

func (e *NumberError) Error() string { return "a number is out of range" }

// Request is a decoded frame. Its slices point into the decoded bytes where they can.
type Request struct {
	Method []byte // nil if the key is absent or null
	ID     []byte // raw JSON string or number; nil = none
	Body   []byte // whole object without the reserved keys
}

// Options of Decode.
type Options struct {
	MaxDepth int // of nested objects and lists; 0 = 32
}

// Decode validates data as JSON (RFC 8259) and finds what the framework needs, in one pass.
//
// At the top level a repeated key is an error, and fd, auth and code are removed in every spelling.
// Below it the last of repeated keys is kept. A lone surrogate becomes U+FFFD (RFC 7493 section 2).
//
// Decode allocates only if a key must be removed, a key or the method is written with escapes, or
// there are more than 16 keys.
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
	if s.foul {
		return r.clean()
	}
	return r, nil
}

// clean makes the body and the echoed ID I-JSON (RFC 7493).
func (r Request) clean() (Request, error) {
	var err error
	if len(r.ID) > 0 {
		if r.ID, err = ijson.Clean(r.ID); err != nil {
			r.ID = nil
		}
	}
	body, err := ijson.Clean(r.Body)
	var wrong *ijson.Error
	if errors.As(err, &wrong) {
		return Request{ID: r.ID}, &NumberError{wrong.Path}
	}
	r.Body = body
	return r, nil
}

// request reads the top-level object.
func (s *scanner) request() (r Request, err error) {
	var (
		keys  keySet
		start = s.i
		kept  = start + 1 // end of the members before the current one
		out   []byte      // body, once a member was removed
	)
	defer keys.release()
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
		if !keys.add(key) {
			return r, ErrDuplicateKey
		}
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
		cut := false
		switch raw := s.b[value:s.i]; {
		case string(key) == "method" && string(raw) == "null": // treated as absent
		case string(key) == "method":
			if raw[0] != '"' {
				return r, ErrMethod
			}
			if r.Method = raw[1 : len(raw)-1]; bytes.IndexByte(raw, '\\') >= 0 {
				r.Method = unescape(raw)
			}
		case string(key) == "id":
			// An id of another type belongs to the action and is not echoed.
			if raw[0] == '"' || raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
				r.ID = raw
			}
		default:
			cut = reserved(key)
		}
		s.space()
		switch {
		case cut && out == nil:
			out = append(make([]byte, 0, len(s.b)-start), s.b[start:kept]...)
		case !cut && out != nil:
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(out, s.b[from:s.i]...)
		}
		if s.i == len(s.b) {
			return r, ErrSyntax
		}
		switch s.b[s.i] {
		case ',':
			kept = s.i
			s.i++
			continue
		case '}':
			s.i++
			if r.Body = s.b[start:s.i]; out != nil {
				r.Body = append(out, '}')
			}
			return r, nil
		}
		return r, ErrSyntax
	}
}

// reserved reports whether a decoder could read key as fd, auth or code. Case is ignored, since
// encoding/json matches fields like that.
func reserved(key []byte) bool {
	switch len(key) {
	case 2:
		return strings.EqualFold(string(key), "fd")
	case 4:
		return strings.EqualFold(string(key), "auth") || strings.EqualFold(string(key), "code")
	}
	return false
}

// unescape decodes a JSON string that the scanner has accepted. Like encoding/json it replaces half
// a surrogate pair by U+FFFD.
func unescape(quoted []byte) []byte {
	text := quoted[1 : len(quoted)-1]
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		i++
		if text[i] != 'u' {
			out = append(out, escapes[text[i]])
			continue
		}
		r := hexRune(text[i+1:])
		i += 4
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if len(text) > i+6 && text[i+1] == '\\' && text[i+2] == 'u' {
				pair = utf16.DecodeRune(r, hexRune(text[i+3:]))
			}
			if r = pair; pair != utf8.RuneError {
				i += 6
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// hexRune reads four hexadecimal digits.
func hexRune(b []byte) (r rune) {
	for _, c := range b[:4] {
		r = r<<4 | rune(c&0xf)
		if c > '9' {
			r += 9
		}
	}
	return r
}
