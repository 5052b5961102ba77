// Package flatjson decodes JSON objects into structs without the allocations of encoding/json. It
// knows plain members only: strings without escapes, whole numbers, true and false. It gives up on
// everything else, and the caller uses encoding/json: the result is always the same, and all errors
// are those of encoding/json.
//
//	d := flatjson.New(reflect.TypeFor[In]())
//	if v := reflect.New(d.Type()); !d.Decode(body, v.Elem()) {
//		v = reflect.New(d.Type())
//		err = json.Unmarshal(body, v.Interface())
//	}
//
// The framework uses it for the inputs of actions. A Decoder is safe for concurrent use.
package flatjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"wsframe/framework/internal/ijson"
)

// Decoder decodes into one struct type.
type Decoder struct {
	typ    reflect.Type
	fields []field
}

// field is a member that the struct knows.
type field struct {
	name  string
	index int
	kind  reflect.Kind // Invalid: a member that encoding/json must decode
	loose bool         // numbers may be quoted, and texts may be numbers
}

// New returns the decoder of a struct type. It is nil if encoding/json must always be used: the
// struct decodes itself, embeds another one, or has tags beyond a name of letters, digits, _ and -.
//
// The loose types have an UnmarshalJSON that accepts more: a string type also numbers, a signed
// integer also quoted numbers, and a bool also 1 and 0.
func New(t reflect.Type, loose ...reflect.Type) *Decoder {
	if t.Kind() != reflect.Struct || decodesItself(t) {
		return nil
	}
	d := &Decoder{typ: t}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			return nil
		}
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		if !plainName(name) || d.find([]byte(name)) != nil {
			return nil
		}
		known := field{name: name, index: i, kind: kindOf(f.Type)}
		for _, l := range loose {
			if f.Type == l {
				known.kind, known.loose = f.Type.Kind(), true
			}
		}
		if strings.Contains(","+options+",", ",string,") {
			known.kind = reflect.Invalid
		}
		d.fields = append(d.fields, known)
	}
	return d
}

// Type is the struct's type.
func (d *Decoder) Type() reflect.Type { return d.typ }

func plainName(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// kindOf is how a member of a type is decoded; Invalid = by encoding/json.
func kindOf(t reflect.Type) reflect.Kind {
	if decodesItself(t) || t == reflect.TypeFor[json.Number]() {
		return reflect.Invalid
	}
	switch k := t.Kind(); k {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return k
	}
	return reflect.Invalid
}

// find returns the field with a name, whatever its case. Names are ASCII.
func (d *Decoder) find(name []byte) *field {
	for i := range d.fields {
		if f := &d.fields[i]; len(f.name) == len(name) && strings.EqualFold(f.name, string(name)) {
			return f
		}
	}
	return nil
}

// Decode fills a struct with zero values from a valid JSON object. If the result is false, the
// struct may be filled in part and must not be used.
func (d *Decoder) Decode(object []byte, into reflect.Value) bool {
	r := reader{b: object}
	if r.next() != '{' {
		return false
	}
	r.i++
	for first := true; r.next() != '}'; first = false {
		if !first {
			r.i++ // the comma
			r.next()
		}
		name, ok := r.text()
		if !ok || !ascii(name) { // names beyond ASCII may differ from ASCII ones in their case only
			return false
		}
		r.next()
		r.i++ // the colon
		if f := d.find(name); f == nil {
			ok = r.skip()
		} else {
			ok = string(name) == f.name && r.member(f, into)
		}
		if !ok || r.i >= len(r.b) {
			return false
		}
	}
	return true
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// reader reads valid JSON.
type reader struct {
	b []byte
	i int
}

// next skips white space and returns the next byte, '}' at the end.
func (r *reader) next() byte {
	for ; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return '}'
}

// text reads a string that stands for itself: it has no escapes, and is UTF-8.
func (r *reader) text() ([]byte, bool) {
	if r.i >= len(r.b) || r.b[r.i] != '"' {
		return nil, false
	}
	from, plain := r.i+1, true
	for r.i++; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; {
		case c == '\\':
			return nil, false
		case c >= utf8.RuneSelf:
			plain = false
		case c == '"':
			s := r.b[from:r.i]
			r.i++
			return s, plain || utf8.Valid(s)
		}
	}
	return nil, false
}

// literal reads a number, true, false or null.
func (r *reader) literal() []byte {
	from := r.i
	for ; r.i < len(r.b); r.i++ {
		if c := r.b[r.i]; c == ',' || c == '}' || c == ']' || c <= ' ' {
			break
		}
	}
	return r.b[from:r.i]
}

// skip passes over a value that the struct does not know. What is not valid JSON ends it.
func (r *reader) skip() bool {
	if r.next(); r.i >= len(r.b) {
		return false
	}
	n := ijson.Length(r.b[r.i:])
	r.i += n
	return n > 0
}

// member decodes the value of a field.
func (r *reader) member(f *field, into reflect.Value) bool {
	var raw []byte
	quoted := r.next() == '"'
	if quoted {
		ok := false
		if raw, ok = r.text(); !ok {
			return false
		}
	} else if raw = r.literal(); len(raw) == 0 {
		return false
	}
	to := into.Field(f.index)
	switch f.kind {
	case reflect.Invalid:
	case reflect.String:
		if quoted || f.loose && integer(raw) {
			to.SetString(string(raw))
			return true
		}
	case reflect.Bool:
		if !quoted && (string(raw) == "true" || string(raw) == "false" || f.loose && (string(raw) == "1" || string(raw) == "0")) {
			to.SetBool(raw[0] == 't' || raw[0] == '1')
			return true
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if !quoted && integer(raw) && raw[0] != '-' {
			n, _ := strconv.ParseUint(string(raw), 10, 64) // it has few digits
			to.SetUint(n)
			return !to.OverflowUint(n)
		}
	default:
		if (!quoted || f.loose) && integer(raw) {
			n, _ := strconv.ParseInt(string(raw), 10, 64) // it has few digits
			to.SetInt(n)
			return !to.OverflowInt(n)
		}
	}
	return false
}

// integer reports whether a text is a whole number that an int64 holds.
func integer(text []byte) bool {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(digits) > 0 && len(digits) <= 18
}
