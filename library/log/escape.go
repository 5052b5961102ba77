package log

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Escape makes text harmless for a terminal. Control characters (C0 except line feed and tab, DEL,
// C1), line separators and bidirectional controls become escapes such as \u001b, and invalid UTF-8
// becomes escapes such as \x9b. Inside a JSON string, the result has the same meaning. Harmless
// text is returned unchanged.
func Escape(p []byte) []byte {
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRune(p[i:])
		if unsafeRune(r, n) {
			return escapeFrom(p, i)
		}
		i += n
	}
	return p
}

func escapeFrom(p []byte, i int) []byte {
	out := append(make([]byte, 0, len(p)+16), p[:i]...)
	for i < len(p) {
		r, n := utf8.DecodeRune(p[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, p[i])
		case unsafeRune(r, n):
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, p[i:i+n]...)
		}
		i += n
	}
	return out
}

func unsafeRune(r rune, size int) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return r == utf8.RuneError && size == 1
}

// EscapeLine is Escape for a value that must stay on its line and in its column: it also escapes
// line feeds and tabs.
func EscapeLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(string(Escape([]byte(s))))
}

// Escaped is a writer that escapes text and passes it to w. Each write must contain whole
// characters.
func Escaped(w io.Writer) io.Writer { return escaped{w} }

type escaped struct{ w io.Writer }

// Write implements io.Writer.
func (e escaped) Write(p []byte) (int, error) {
	if _, err := e.w.Write(Escape(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
