// Package ijson makes JSON such that every reader understands it alike: I-JSON (RFC 7493 section 2). PHP's json_decode refuses a whole
// document for one lone surrogate, and readers differ in which of two members of one name they take.
//
//	err := ijson.Check(body)         // from a back end: refused by name
//	body, err = ijson.Clean(body)    // from a client: made good where it can be
//
// Documents must be valid JSON (RFC 8259) in UTF-8. All functions are pure and safe for concurrent use.
package ijson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Error is what is wrong with a document, and where.
type Error struct {
	Path string // of the member, like param.list[2].name; "" = the document itself
	Why  string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return "this " + e.Why
	}
	return fmt.Sprintf("%.200q %s", e.Path, e.Why)
}

// What can be wrong.
const (
	Surrogate = "holds half of a surrogate pair"
	Doubled   = "is there twice"
	Range     = "is a number beyond what readers can hold"
)

// Check refuses a lone surrogate, a name that comes twice in one object and a number beyond a double's range.
func Check(doc []byte) error {
	w := walker{b: doc, strict: true}
	return w.value()
}

// Clean puts U+FFFD in the place of a lone surrogate, in names too, and keeps the last of members of one name. A number beyond a
// double's range is an *Error. A document in which nothing is to be changed is returned as it is.
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

// walker reads valid JSON and writes it again; a strict one writes nothing that counts.
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

// next is the next byte that is no space; 0 at the end.
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

// scalar reads a number or a word.
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

// Large tells whether a number needs a second look: without an exponent and with fewer digits it is in a double's range.
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

// member is one of an object's, as it was written.
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

// name reads a member's name and the colon behind it, and puts it on the path.
func (w *walker) name() (string, error) {
	from := len(w.out)
	if err := w.text(); err != nil {
		return "", err
	}
	quoted := w.out[from:]
	name := string(quoted[1 : len(quoted)-1])
	if strings.Contains(name, `\`) {
		_ = json.Unmarshal(quoted, &name) // a JSON string: it cannot fail
	}
	w.next()
	w.i++
	w.out = append(w.out, ':')
	w.path = append(w.path, "."+name)
	return name, nil
}

// drop takes the members out that others of the same name follow.
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

// Pair tells whether the JSON text b begins with two escapes that are one character: \ud83d\ude00.
func Pair(b []byte) bool {
	return len(b) >= 12 && b[6] == '\\' && b[7] == 'u' && utf16.DecodeRune(unit(b[2:]), unit(b[8:])) != '\ufffd'
}

// unit reads the four digits of an escape; -1 = they are none.
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
