package frame

import (
	"bytes"
	"encoding/json"
	"strings"
)

// HTML escapes like PHP's htmlspecialchars with ENT_QUOTES, its default since 8.1 (contract §3). It
// is safe for concurrent use.
var HTML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#039;")

// EscapeHTML returns the JSON document with every string value, at every depth, escaped for HTML.
// Keys stay as they are (contract §3). doc must be accepted by Decode; the result never shares its
// memory.
func EscapeHTML(doc []byte) []byte {
	out := make([]byte, 0, len(doc)+len(doc)/8)
	s := scanner{b: doc, depth: 1 << 30}
	for s.i < len(doc) {
		if doc[s.i] != '"' {
			out = append(out, doc[s.i])
			s.i++
			continue
		}
		from := s.i
		escaped, err := s.str()
		if err != nil {
			return append(out, doc[from:]...) // impossible, since Decode has accepted doc
		}
		raw := doc[from:s.i]
		s.space()
		if key := s.i < len(doc) && doc[s.i] == ':'; key || !escaped && !bytes.ContainsAny(raw[1:len(raw)-1], `&<>'`) {
			out = append(out, raw...)
			continue
		}
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return append(out, doc[from:]...)
		}
		out = appendString(out, HTML.Replace(text))
	}
	return out
}
