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
	// Param is omitted if it is nil or empty: "", an empty list or map, or a nil pointer. 0 and
	// false are kept. A json.RawMessage is sent as it is.
	Param any
}

// AppendReply appends the reply as JSON. id is the raw id of the request, nil for pushes. An error
// means that Param cannot be encoded; the returned bytes are incomplete then and must not be sent.
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
	err := e.json.Encode(v) // writes complete documents only
	dst, e.dst = e.dst, nil
	if err != nil {
		return dst, err // some errors persist in an encoder, so this one is not used again
	}
	encoders.Put(e)
	return bytes.TrimSuffix(dst, []byte("\n")), nil
}

// encoder is an encoder of encoding/json that appends to dst.
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
	e.json.SetEscapeHTML(false) // pages escape what they show, and not all clients are pages
	return e
}}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Like encoding/json it escapes U+2028 and U+2029, and
// replaces invalid UTF-8 by U+FFFD.
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
