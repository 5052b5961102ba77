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

// parseFields parses a query or a form as PHP and browsers' URLSearchParams do (WHATWG URL section
// 5.1): "&" alone separates fields, and a "%" without two hex digits after it is a plain character.
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

// unescape decodes each "%" with two hex digits, and each "+".
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

// parseParts parses a multipart body. An incomplete body is refused, and so is text before its
// first or after its last boundary, because the recipient could be in the part that is ignored.
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
		// A header that cannot be parsed has no name.
		kind, params, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
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
