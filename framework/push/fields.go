package push

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
)

// parseFields reads a query or a form as PHP and browsers' URLSearchParams do (WHATWG URL section 5.1): "&" alone separates, and a
// "%" without two hex digits behind it stands for itself.
func parseFields(text string) url.Values {
	fields := url.Values{}
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescape(name)
		fields[name] = append(fields[name], unescape(value))
	}
	return fields
}

// unescape decodes what can be decoded.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s):
			if decoded, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				c, i = decoded[0], i+2
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// parseParts reads a multipart body. It must be whole, and nothing may stand before its first or behind its last boundary:
// whatever is passed over could be the recipient.
func parseParts(body []byte, boundary string) (url.Values, *Error) {
	malformed := fail(CodeBadRequest, "the multipart body is malformed")
	end := []byte("--" + boundary + "--")
	head, tail, whole := bytes.Cut(append([]byte("\n"), body...), append([]byte("\n"), end...))
	if boundary == "" || !whole || len(bytes.TrimSpace(tail)) > 0 || len(head) > 0 && !bytes.HasPrefix(body, end[:len(end)-2]) {
		return nil, malformed
	}
	fields := url.Values{}
	for parts := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return fields, nil
		}
		if err != nil {
			return nil, malformed
		}
		value, err := io.ReadAll(part)
		kind, params, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition")) // what cannot be read has no name
		name := params["name"]
		_, file := params["filename"]
		switch {
		case err != nil || kind != "form-data" || name == "":
			return nil, malformed
		case file:
			return nil, fail(CodeBadRequest, "%.64q is a file; the fields are texts", name)
		}
		fields[name] = append(fields[name], string(value))
	}
}
