package phpserialize

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

// ErrJSON is returned for a value that JSON cannot express: an object, a float that is no finite
// number, or a string that is no UTF-8.
var ErrJSON = errors.New("serialized value has no JSON form")

// AppendJSON appends a value as PHP's json_encode writes it with JSON_UNESCAPED_UNICODE and
// JSON_UNESCAPED_SLASHES. A list is an array, and any other array is an object.
func AppendJSON(b []byte, v Value) ([]byte, error) {
	switch v.kind {
	case Null:
		return append(b, "null"...), nil
	case Bool:
		if v.Bool() {
			return append(b, "true"...), nil
		}
		return append(b, "false"...), nil
	case Int:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case Float:
		f := v.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return b, ErrJSON
		}
		return appendDigits(b, f, shortest), nil
	case String:
		return appendQuoted(b, v.content)
	case Array:
		return appendArrayJSON(b, v)
	}
	return b, ErrJSON
}

func appendArrayJSON(b []byte, v Value) ([]byte, error) {
	list := v.IsList()
	open, end := byte('{'), byte('}')
	if list {
		open, end = '[', ']'
	}
	b = append(b, open)
	for i, e := range v.array.list {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if !list {
			if b, err = appendQuoted(b, []byte(e.key.String())); err != nil {
				return b, err
			}
			b = append(b, ':')
		}
		if b, err = AppendJSON(b, e.value); err != nil {
			return b, err
		}
	}
	return append(b, end), nil
}

// appendQuoted appends a JSON string. encoding/json always escapes U+2028 and U+2029, as PHP
// does.
func appendQuoted(b []byte, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return b, ErrJSON
	}
	w := writer{b}
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(text)); err != nil {
		return b, err
	}
	return w.b[:len(w.b)-1], nil // without Encode's line feed
}

type writer struct{ b []byte }

func (w *writer) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
