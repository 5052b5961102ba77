package names

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// EscapeRoom makes a room's name of any text. Each byte that no name has becomes %XX, and so does
// the first byte of a reserved name. No name that Room accepts has a %, so none is taken for
// another.
func EscapeRoom(text string) string {
	escaped := escape(text, roomMark)
	if escaped != "" && Reserved(escaped) != "" {
		return string(appendEscape(nil, escaped[0])) + escaped[1:]
	}
	return escaped
}

// EscapeUID makes a uid of any text, as EscapeRoom does.
func EscapeUID(text string) string { return escape(text, uidMark) }

// AnyUID checks a uid that EscapeUID has made of any text with 1 to MaxUID characters. The error is
// ErrUID.
func AnyUID(uid string) error {
	text := Unescape(uid)
	if n := utf8.RuneCountInString(text); n == 0 || n > MaxUID || EscapeUID(text) != uid {
		return fmt.Errorf("uid %.40q: %w", uid, ErrUID)
	}
	return nil
}

// Unescape returns the text of which EscapeRoom or EscapeUID has made a name. Other names have no %
// and are returned as they are.
func Unescape(name string) string {
	if strings.IndexByte(name, '%') < 0 {
		return name
	}
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '%' && i+2 < len(name) {
			if one, err := hex.DecodeString(name[i+1 : i+3]); err == nil {
				b = append(b, one[0])
				i += 2
				continue
			}
		}
		b = append(b, name[i])
	}
	return string(b)
}

// escape replaces the characters that are neither letters, digits nor marks.
func escape(text, marks string) string {
	var b []byte // nil: nothing was replaced so far
	for i, size := 0, 0; i < len(text); i += size {
		var r rune
		r, size = utf8.DecodeRuneInString(text[i:])
		invalid := r == utf8.RuneError && size == 1
		if !invalid && (unicode.IsLetter(r) || unicode.IsNumber(r) || strings.ContainsRune(marks, r)) {
			if b != nil {
				b = append(b, text[i:i+size]...)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, 3*len(text)), text[:i]...)
		}
		for _, one := range []byte(text[i : i+size]) {
			b = appendEscape(b, one)
		}
	}
	if b == nil {
		return text
	}
	return string(b)
}

func appendEscape(b []byte, one byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[one>>4], digits[one&15])
}
