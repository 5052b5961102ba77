// Package ijson checks and repairs JSON documents that parsers understand differently (I-JSON, RFC
// 7493 section 2). PHP's json_decode, for example, refuses a document with a lone surrogate, and
// parsers differ in which of two members with the same name they use.
//
//	err := ijson.Check(body)         // from a back end: the error names the member
//	body, err = ijson.Clean(body)    // from a client: repaired where possible
//
// Documents must be valid JSON (RFC 8259) in UTF-8. All functions are pure and safe for concurrent
// use.
package ijson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Error describes the first fault of a document.
type Error struct {
	Path string // path of the member, like param.list[2].name; "" = the document itself
	Why  string // Surrogate, Doubled or Range
}

func (e *Error) Error() string {
	if e.Path == "" {
		return "this " + e.Why
	}
	return fmt.Sprintf("%.200q %s", e.Path, e.Why)
}

// The values of Error.Why.
const (
	Surrogate = "holds half of a surrogate pair"
	Doubled   = "is there twice"
	Range     = "is a number beyond what readers can hold"
)

// Check returns an *Error for a lone surrogate, for two members with the same name, and for a
// number beyond the range of a double.
func Check(doc []byte) error {
	w := walker{b: doc, strict: true}
	return w.value()
}

// Clean replaces lone surrogates by U+FFFD, in names too, and keeps only the last of several
// members with the same name. A number beyond the range of a double is an *Error. If nothing needs
// a change the result is doc itself.
func Clean(doc []byte) ([]byte, error) {
	w := walker{b: doc, out: make([]byte, 0, len(doc))}
	if err := w.value(); err != nil {
		return nil, err
	}
	if !w.changed {
		return doc, nil
	}
	return w.out, nil
}

// walker reads valid JSON and writes it again. The output of a strict walker is not used.
type walker struct {
	b      []byte
	i      int
	out    []byte
	strict bool
	path   []string

	changed bool
}

func (w *walker) wrong(why string) error {
	return &Error{strings.TrimPrefix(strings.Join(w.path, ""), "."), why}
}

// next skips white space and returns the next byte, 0 at the end.
func (w *walker) next() byte {
	for ; w.i < len(w.b); w.i++ {
		switch w.b[w.i] {
		case ' ', '\t', '\n', '\r':
		default:
			return w.b[w.i]
		}
	}
	return 0
}

func (w *walker) value() error {
	switch w.next() {
	case '{':
		return w.object()
	case '[':
		return w.list()
	case '"':
		return w.text()
	}
	return w.scalar()
}

// scalar reads a number, true, false or null.
func (w *walker) scalar() error {
	from, number := w.i, false
	for ; w.i < len(w.b); w.i++ {
		c := w.b[w.i]
		if c == ',' || c == ']' || c == '}' || c <= ' ' {
			break
		}
		number = number || c >= '0' && c <= '9'
	}
	raw := w.b[from:w.i]
	if number && Large(raw) {
		if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
			return w.wrong(Range)
		}
	}
	w.out = append(w.out, raw...)
	return nil
}

// Large reports whether a number may be beyond the range of a double: it has an exponent or more
// than 300 digits.
func Large(number []byte) bool {
	if len(number) > 300 {
		return true
	}
	for _, c := range number {
		if c == 'e' || c == 'E' {
			return true
		}
	}
	return false
}

func (w *walker) list() error {
	w.i++
	w.out = append(w.out, '[')
	for n := 0; ; n++ {
		if w.next() == ']' {
			break
		}
		if n > 0 {
			w.i++ // the comma
			w.out = append(w.out, ',')
		}
		w.path = append(w.path, "["+strconv.Itoa(n)+"]")
		if err := w.value(); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
	}
	w.i++
	w.out = append(w.out, ']')
	return nil
}

// member is the place of an object's member in the output.
type member struct {
	from, to int
	dropped  bool
}

func (w *walker) object() error {
	w.i++
	w.out = append(w.out, '{')
	start, doubled := len(w.out), false
	known, members := map[string]int{}, []member(nil)
	for w.next() != '}' {
		if len(members) > 0 {
			w.i++ // the comma
			w.next()
		}
		m := member{from: len(w.out)}
		name, err := w.name()
		if err != nil {
			return err
		}
		if last, there := known[name]; there {
			if w.strict {
				return w.wrong(Doubled)
			}
			members[last].dropped, doubled = true, true
		}
		known[name] = len(members)
		if err := w.value(); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
		w.out = append(w.out, ',')
		m.to = len(w.out)
		members = append(members, m)
	}
	w.i++
	if doubled {
		w.changed = true
		w.drop(start, members)
	}
	if len(w.out) > start {
		w.out = w.out[:len(w.out)-1] // the last comma
	}
	w.out = append(w.out, '}')
	return nil
}

// name reads a member's name and the colon after it, and adds it to the path.
func (w *walker) name() (string, error) {
	from := len(w.out)
	if err := w.text(); err != nil {
		return "", err
	}
	quoted := w.out[from:]
	name := string(quoted[1 : len(quoted)-1])
	if strings.Contains(name, `\`) {
		_ = json.Unmarshal(quoted, &name) // a valid JSON string: cannot fail
	}
	w.next()
	w.i++
	w.out = append(w.out, ':')
	w.path = append(w.path, "."+name)
	return name, nil
}

// drop removes the members that are followed by another one with the same name.
func (w *walker) drop(start int, members []member) {
	kept := w.out[:start]
	for _, m := range members {
		if !m.dropped {
			kept = append(kept, w.out[m.from:m.to]...)
		}
	}
	w.out = kept
}

// text reads a string.
func (w *walker) text() error {
	from := w.i
	for w.i++; w.b[w.i] != '"'; w.i++ {
		if w.b[w.i] != '\\' {
			continue
		}
		w.i++
		if w.b[w.i] != 'u' {
			continue
		}
		r := unit(w.b[w.i+1:])
		w.i += 4
		if !utf16.IsSurrogate(r) {
			continue
		}
		if Pair(w.b[w.i-5:]) {
			w.i += 6
			continue
		}
		if w.strict {
			return w.wrong(Surrogate)
		}
		w.changed = true
		w.out = append(append(w.out, w.b[from:w.i-5]...), `\ufffd`...)
		from = w.i + 1
	}
	w.i++
	w.out = append(w.out, w.b[from:w.i]...)
	return nil
}

// Pair reports whether b begins with two escapes that form one character, like \ud83d\ude00.
func Pair(b []byte) bool {
	return len(b) >= 12 && b[6] == '\\' && b[7] == 'u' && utf16.DecodeRune(unit(b[2:]), unit(b[8:])) != '\ufffd'
}

// unit reads the four hexadecimal digits of an escape; -1 = there are none.
func unit(digits []byte) rune {
	if len(digits) < 4 {
		return -1
	}
	n, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
