package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"wsframe/framework/internal/names"
)

// maxInt is the largest number that JavaScript keeps exact.
const maxInt = 1<<53 - 1

// kind is the set of values that a field may have. The tag `is` of a struct's field names it; a
// field without omitempty is required.
type kind struct {
	min, max int64 // of a number; of a text's characters; of a list's items
	// pattern is of a text. It does not count characters, which would take megabytes.
	pattern *regexp.Regexp
	words   []string // all texts that are allowed
	of      string   // kind of a list's items
	room    bool     // a room's name, which must not be reserved
}

var kinds = map[string]kind{
	"fd":     {min: 1, max: maxInt},
	"fds":    {max: 1000, of: "fd"},
	"uids":   {max: 1000, of: "uid"},
	"rooms":  {max: 1000, of: "room"},
	"after":  {max: maxInt},
	"back":   {min: -1, max: maxInt},
	"uid":    {max: names.MaxUID, pattern: regexp.MustCompile(names.UIDPattern)},
	"room":   {max: names.MaxRoom, pattern: regexp.MustCompile(names.RoomPattern), room: true},
	"name":   {max: 128},
	"event":  {max: 128, pattern: regexp.MustCompile(`^[\p{L}\p{N}\p{P}\p{S}]+$`)},
	"info":   {max: 1024},
	"status": {min: 100, max: 999},
	"class":  {words: []string{NeverDrop, DropOldest, Latest}},
	"key":    {max: 128},
	"keep":   {min: 1, max: 100_000},
	"age":    {min: 1, max: 31 * 24 * 3600},
	"limit":  {min: 1, max: 1000},
	"code":   {min: 1000, max: 4999},
	"reason": {max: 123},
	"values": {max: 256},
	"calls":  {min: 1, max: 100},
	"method": {max: 64, pattern: regexp.MustCompile(`^[A-Za-z]+$`)},
}

// check returns what is wrong with a value of that kind, or "".
func (k *kind) check(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		if n := v.Int(); n < k.min || n > k.max {
			return fmt.Sprintf("must be between %d and %d", k.min, k.max)
		}
	case reflect.String:
		s := v.String()
		switch {
		case k.words != nil:
			for _, w := range k.words {
				if s == w {
					return ""
				}
			}
			return "must be one of " + strings.Join(k.words, ", ")
		case int64(utf8.RuneCountInString(s)) > k.max:
			return fmt.Sprintf("must have at most %d characters", k.max)
		case k.pattern != nil && !k.pattern.MatchString(s):
			return "must match " + k.pattern.String()
		case k.room && names.Reserved(s) != "":
			return fmt.Sprintf("%q is reserved: no room begins with %s", s, names.Reserved(s))
		}
	case reflect.Slice, reflect.Map:
		if n := int64(v.Len()); n < k.min || n > k.max {
			return fmt.Sprintf("must have %d to %d entries", k.min, k.max)
		}
		if k.of != "" {
			item := kinds[k.of]
			for i := range v.Len() {
				if text := item.check(v.Index(i)); text != "" {
					return fmt.Sprintf("[%d] %s", i, text)
				}
			}
		}
	}
	return ""
}

// field is one key of a request.
type field struct {
	name     string
	kind     string
	doc      string
	required bool
	index    []int
	typ      reflect.Type
}

// fieldsOf returns the fields of a struct and of those embedded in it.
func fieldsOf(t reflect.Type) (list []field) {
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		list = append(list, field{name, f.Tag.Get("is"), f.Tag.Get("doc"), !strings.Contains(options, "omitempty"), f.Index, f.Type})
	}
	return list
}

// decode parses a request's JSON object and checks every field. A repeated name is refused, because
// another parser of the same body could use the other value.
func decode(body []byte, fields []field, in any) *Error {
	if !utf8.Valid(body) { // clients close the connection over such a push (RFC 6455 section 8.1)
		return fail(CodeBadRequest, "the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fail(CodeBadRequest, "the body must be a JSON object")
	}
	v := reflect.ValueOf(in).Elem()
	given := make([]bool, len(fields))
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return malformed(err)
		}
		name, _ := t.(string)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		var raw json.RawMessage
		switch err := d.Decode(&raw); {
		case err != nil:
			return malformed(err)
		case i < 0:
			return fail(CodeBadRequest, "%.64q is no field of this", name)
		case given[i]:
			return fail(CodeBadRequest, "%s is there twice", name)
		case string(raw) == "null":
			continue
		}
		given[i] = true
		if e := fields[i].read(raw, v); e != nil {
			return e
		}
	}
	if _, err := d.Token(); err != nil {
		return malformed(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fail(CodeBadRequest, "something follows the JSON object")
	}
	for i := range fields {
		if fields[i].required && !given[i] {
			return fail(CodeBadRequest, "%s is missing", fields[i].name)
		}
	}
	return nil
}

func malformed(err error) *Error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fail(CodeBadRequest, "the JSON ends too soon")
	}
	return fail(CodeBadRequest, "malformed JSON: %v", err)
}

// read decodes and checks one field of a request.
func (f *field) read(raw json.RawMessage, in reflect.Value) *Error {
	value := in.FieldByIndex(f.index)
	err := json.Unmarshal(raw, value.Addr().Interface())
	if e := (*Error)(nil); errors.As(err, &e) {
		return fail(CodeBadRequest, "%s: %s", f.name, e.Message)
	}
	if err != nil {
		return fail(CodeBadRequest, "%s must be %s", f.name, nameOf(f.typ))
	}
	if k, ok := kinds[f.kind]; ok {
		if text := k.check(value); text != "" {
			return fail(CodeBadRequest, "%s %s", f.name, text)
		}
	}
	return nil
}

// nameOf returns the name of a type for people who write JSON.
func nameOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.String:
		return "a text"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
