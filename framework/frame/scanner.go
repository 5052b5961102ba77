package frame

// scanner accepts exactly what RFC 8259 calls JSON (a fuzz target holds it against encoding/json).
type scanner struct {
	b     []byte
	i     int
	depth int // levels that may still be opened
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
	}
	return nil
}

// str reads a string and tells whether it holds escapes.
func (s *scanner) str() (escaped bool, err error) {
	if s.i == len(s.b) || s.b[s.i] != '"' {
		return false, ErrSyntax
	}
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return escaped, nil
		case c < 0x20:
			return false, ErrSyntax
		case c == '\\':
			escaped = true
			s.i++
			if s.i == len(s.b) {
				return false, ErrSyntax
			}
			switch s.b[s.i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					s.i++
					if s.i == len(s.b) || !hex(s.b[s.i]) {
						return false, ErrSyntax
					}
				}
			default:
				return false, ErrSyntax
			}
		}
	}
	return false, ErrSyntax
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
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
	for {
		s.space()
		if _, err := s.str(); err != nil {
			return err
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

// element reads a value and what follows it: a comma, or the end of the object or list.
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
