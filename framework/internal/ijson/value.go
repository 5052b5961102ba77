package ijson

// Length returns the length in bytes of the value with which a document begins, so that doc[:n] is
// that value. It is 0 if the document does not begin with a value, or ends within it. Unlike the
// other functions it takes any bytes; of what is not valid JSON it returns some length.
func Length(doc []byte) int {
	depth := 0
	for i := 0; i < len(doc); {
		n := 1
		switch c := doc[i]; {
		case c == '"':
			n = textLength(doc[i:])
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case separates(c):
			if depth == 0 {
				return 0
			}
		default: // a number, true, false or null
			for i+n < len(doc) && !separates(doc[i+n]) && doc[i+n] != '}' && doc[i+n] != ']' {
				n++
			}
		}
		if n == 0 || depth < 0 {
			return 0
		}
		if i += n; depth == 0 {
			return i
		}
	}
	return 0
}

// separates reports whether a byte stands between values: white space, a comma or a colon. Control
// bytes count, too.
func separates(c byte) bool { return c <= ' ' || c == ',' || c == ':' }

// textLength returns the length of a string with its quotes, 0 if it does not end.
func textLength(doc []byte) int {
	for i := 1; i < len(doc); i++ {
		switch doc[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// Deeper reports whether a document has more than so many levels of lists and objects within each
// other. It takes any bytes.
func Deeper(doc []byte, levels int) bool {
	depth := 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '"':
			n := textLength(doc[i:])
			if n == 0 {
				return false
			}
			i += n - 1
		case '[', '{':
			if depth++; depth > levels {
				return true
			}
		case ']', '}':
			depth--
		}
	}
	return false
}
