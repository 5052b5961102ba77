package frame

import "wsframe/framework/internal/ijson"

// scanner accepts exactly the JSON of RFC 8259; a fuzz test compares it with encoding/json.
type scanner struct {
	b     []byte
	i     int
	depth int  // levels that may still be nested
	foul  bool // the document may be read differently by other decoders, so it must be cleaned
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// value reads any value. Recursion is bounded by depth.
func (s *scanner) value() error {
	if s.i == len(s.b) {
		return ErrSyntax
	}
	switch c := s.b[s.i]; {
	case c == '"':
		_, err := s.str()
		return err
	case c == '{':
		return s.object()
	case c == '[':
		return s.list()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	return ErrSyntax
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return ErrSyntax
	}
	s.i += len(w)
	return nil
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > from
}

func (s *scanner) number() error {
	from := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return ErrSyntax
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return ErrSyntax
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return ErrSyntax
		}
		s.foul = true
	}
	if s.i-from > longNumber {
		s.foul = true
	}
	return nil
}

// longNumber is the length in bytes up to which any number without an exponent is in the range of a
// double.
const longNumber = 300

// str reads a string and reports whether it contains escapes.
func (s *scanner) str() (escaped bool, err error) {
	b, i := s.b, s.i // locals stay in registers, and strings are most of a frame
	if i == len(b) || b[i] != '"' {
		return false, ErrSyntax
	}
	for i++; i < len(b); i++ {
		c := b[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		s.i = i
		switch {
		case c == '"':
			s.i++
			return escaped, nil
		case c != '\\' || !s.escape():
			return false, ErrSyntax
		}
		escaped, i = true, s.i
	}
	return false, ErrSyntax
}

// escape reads an escape up to its last byte.
func (s *scanner) escape() bool {
	s.i++
	if s.i == len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
	default:
		return false
	}
	for range 4 {
		s.i++
		if s.i == len(s.b) || !hex(s.b[s.i]) {
			return false
		}
	}
	switch {
	case !surrogate(s.b[s.i-3:]):
	case ijson.Pair(s.b[s.i-5:]):
		s.i += 6
	default:
		s.foul = true
	}
	return true
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// surrogate reports whether four hex digits are half of a pair: d8xx to dfxx.
func surrogate(digits []byte) bool {
	return digits[0]|0x20 == 'd' && digits[1] >= '8'
}

// names is a filter of an object's names: a name that it does not contain is new.
type names [4]uint64

// add adds name and reports whether it is certainly new.
func (n *names) add(name []byte) bool {
	h := uint32(len(name))
	if len(name) > 0 {
		h = (h*31+uint32(name[0]))*31 + uint32(name[len(name)-1])
		h = h*31 + uint32(name[len(name)/2])
	}
	h = h * 0x9e3779b1 >> 24
	bit := uint64(1) << (h & 63)
	known := n[h>>6]&bit != 0
	n[h>>6] |= bit
	return !known
}

func (s *scanner) object() error {
	if s.depth--; s.depth < 0 {
		return ErrTooDeep
	}
	s.i++
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.i++
		s.depth++
		return nil
	}
	var seen names
	for {
		s.space()
		from := s.i
		escaped, err := s.str()
		if err != nil {
			return err
		}
		if escaped || !seen.add(s.b[from+1:s.i-1]) {
			s.foul = true
		}
		s.space()
		if s.i == len(s.b) || s.b[s.i] != ':' {
			return ErrSyntax
		}
		s.i++
		if done, err := s.element('}'); done || err != nil {
			return err
		}
	}
}

func (s *scanner) list() error {
	if s.depth--; s.depth < 0 {
		return ErrTooDeep
	}
	s.i++
	s.space()
	if s.i < len(s.b) && s.b[s.i] == ']' {
		s.i++
		s.depth++
		return nil
	}
	for {
		if done, err := s.element(']'); done || err != nil {
			return err
		}
	}
}

// element reads a value and the comma or end of the object or list after it.
func (s *scanner) element(end byte) (done bool, err error) {
	s.space()
	if err := s.value(); err != nil {
		return false, err
	}
	s.space()
	if s.i == len(s.b) {
		return false, ErrSyntax
	}
	switch s.b[s.i] {
	case ',':
		s.i++
		return false, nil
	case end:
		s.i++
		s.depth++
		return true, nil
	}
	return false, ErrSyntax
}
