package frame

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"sync"
	"unicode/utf8"
)

// Reply is the envelope of every frame that the server sends (contract §3).
type Reply struct {
	Status int
	Event  string
	Info   string
	Param  any // left out where nil or empty: "", an empty list, map or nil pointer; 0 and false are kept. A json.RawMessage goes out as it is
}

// AppendReply appends the reply as JSON. id is the request's own, raw; nil for pushes. An error means that Param cannot be
// encoded; dst is then returned as far as it was written and must not be sent.
func AppendReply(dst []byte, r *Reply, id []byte) ([]byte, error) {
	dst = append(dst, `{"status":`...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, `,"event":`...)
	dst = appendString(dst, r.Event)
	dst = append(dst, `,"info":`...)
	dst = appendString(dst, r.Info)
	if !empty(r.Param) {
		dst = append(dst, `,"param":`...)
		var err error
		if dst, err = appendValue(dst, r.Param); err != nil {
			return dst, err
		}
	}
	if len(id) > 0 {
		dst = append(dst, `,"id":`...)
		dst = append(dst, id...)
	}
	return append(dst, '}'), nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case json.RawMessage:
		return len(v) == 0
	case int, int64, bool:
		return false
	}
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.Pointer, reflect.Interface:
		return rv.IsNil()
	case reflect.Slice, reflect.Map, reflect.String, reflect.Array:
		return rv.Len() == 0
	}
	return false
}

func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return appendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	}
	e := encoders.Get().(*encoder)
	e.dst = dst
	err := e.json.Encode(v) // writes only what is whole
	dst, e.dst = e.dst, nil
	if err != nil {
		return dst, err // the encoder is not used again: some errors stay with it
	}
	encoders.Put(e)
	return bytes.TrimSuffix(dst, []byte("\n")), nil
}

// encoder is encoding/json's encoder, appending to dst.
type encoder struct {
	dst  []byte
	json *json.Encoder
}

func (e *encoder) Write(p []byte) (int, error) {
	e.dst = append(e.dst, p...)
	return len(p), nil
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false) // escaping belongs to the output, and not all clients are pages
	return e
}}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. U+2028 and U+2029 are escaped as encoding/json does, invalid UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(append(dst, s[from:i]...), `\ufffd`...)
				from = i + size
			case r == '\u2028', r == '\u2029':
				dst = append(append(dst, s[from:i]...), `\u202`...)
				dst = append(dst, hexDigits[r&0xf])
				from = i + size
			}
			i += size
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
