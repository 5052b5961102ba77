package accept

import (
	"net/http"
	"strings"
	"testing"
)

// Handshakes are checked by RFC 6455 §4.2.1 and RFC 9112. All refusals of a well-formed one look
// alike.
func TestRequests(t *testing.T) {
	without := func(header string) string {
		var lines []string
		for line := range strings.SplitSeq(upgrade(good, ""), "\r\n") {
			if !strings.HasPrefix(line, header) {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\r\n")
	}
	replaced := func(from, to string) string { return strings.Replace(upgrade(good, ""), from, to, 1) }
	inTime(t, nil, func(t *testing.T, s *running) {
		for _, tc := range []struct {
			name, request string
			status        int
		}{
			{"good", upgrade(good, ""), 101},
			{"any path, other keys", upgrade("/a/b?x=1&auth=good&y=2", ""), 101},
			{"as subprotocol", upgrade("/", "Sec-WebSocket-Protocol: good\r\n"), 101},
			{"no token", upgrade("/", ""), 403},
			{"bad token", upgrade("/?auth=bad", ""), 403},
			{"other origin", upgrade(good, "Origin: https://bad.example\r\n"), 403},
			{"no key", without("Sec-WebSocket-Key"), 400},
			{"short key", replaced("dGhlIHNhbXBsZSBub25jZQ==", "eA=="), 400},
			{"no version", without("Sec-WebSocket-Version"), 400},
			{"old version", replaced("Version: 13", "Version: 8"), 400},
			{"no connection header", without("Connection"), 400},
			{"POST", replaced("GET", "POST"), 400},
			{"HTTP/1.0", replaced("HTTP/1.1", "HTTP/1.0"), 400},
			{"not HTTP", "\x16\x03\x01\x02\x00", 400},
			{"half HTTP", "GET / HTTP/9\r\n\r\n", 400},
			{"too long a head", "GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 9000), 431},
			{"a body", upgrade(good, "Content-Length: 7\r\n") + "\x81\x81\x00\x00\x00\x002", 400},
			{"a body that is still to come", upgrade(good, "Content-Length: 7\r\n"), 400},
			{"an empty body", upgrade(good, "Content-Length: 0\r\n"), 101},
			{"two lengths", upgrade(good, "Content-Length: 0\r\nContent-Length: 1\r\n"), 400},
			{"chunked", upgrade(good, "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400},
			{"chunked with a length", upgrade(good, "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), 400},
			{"unknown coding", upgrade(good, "Transfer-Encoding: x\r\n"), 400},
			{"space before a colon", upgrade(good, "Header : x\r\n"), 400},
			{"tab before a colon", upgrade(good, "Header\t: x\r\n"), 400},
			{"space before Upgrade's colon", replaced("Upgrade:", "Upgrade :"), 400},
			{"folded header", upgrade(good, "Header: x\r\n y\r\n"), 400},
			{"no colon", upgrade(good, "Header\r\n"), 400},
			{"no name", upgrade(good, ": x\r\n"), 400},
			{"control byte in a value", upgrade(good, "Header: \x01\r\n"), 400},
			{"bare LF", upgrade(good, "A: b\nC: d\r\n"), 400},
			{"bare blank line", upgrade(good, "A: b\n\nC: d\r\n"), 400},
			{"two hosts", upgrade(good, "Host: y\r\n"), 400},
			{"no host", without("Host"), 400},
			{"two keys", upgrade(good, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400},
			{"websocket among others", replaced("Upgrade: websocket", "Upgrade: h2c, WebSocket"), 101},
			{"upgrade to HTTP/2", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n\r\n", 200},
			{"another upgrade", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2, websockets\r\n\r\n", 200},
			{"a key without an upgrade", without("Upgrade"), 200},
			{"plain page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
			{"no file beside static", "GET /static/../console.go HTTP/1.1\r\nHost: x\r\n\r\n", 307},
			{"plain POST", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
		} {
			a := s.ask(near, tc.request)
			switch {
			case a.status != tc.status:
				t.Errorf("%s: status %d, want %d", tc.name, a.status, tc.status)
			case a.status != 101 && !a.closed:
				t.Errorf("%s: not closed", tc.name)
			case a.status == 403 && (a.header.Get("message") != "error auth" || a.body != `{"status":403,"info":"用户权限不足","event":"authError"}`):
				t.Errorf("%s: %v %s", tc.name, a.header, a.body)
			case a.status == 400 && !strings.Contains(a.body, ": ") && tc.name != "space before Upgrade's colon":
				t.Errorf("%s: the body names no reason: %s", tc.name, a.body)
			case a.status == 400 && (a.header.Get("Sec-WebSocket-Version") == "13") != strings.Contains(tc.name, " version"):
				t.Errorf("%s: %v", tc.name, a.header) // RFC 6455 §4.4
			}
		}
		if len(s.opened) != 5 {
			t.Errorf("%d were let in", len(s.opened))
		}
	})
}

// Tokens are read from the query or a protocol, and never returned as the protocol (RFC 6455
// §4.2.2).
func TestTokenOf(t *testing.T) {
	for _, tc := range []struct{ query, protocols, token, protocol string }{
		{"", "", "", ""},
		{"auth=a", "", "a", ""},
		{"x=1&auth=a&auth=b", "", "a", ""},
		{"auth=a%2Bb+c", "", "a+b+c", ""},
		{"auth=%zz", "", "%zz", ""},
		{"auth=", "t", "", "t"},
		{"", "t", "t", "t"},
		{"", "wsframe, t", "t", "wsframe"},
		{"", "wsframe|t", "t", "wsframe"},
		{"", " , b@d, wsframe", "wsframe", "wsframe"},
		{"", "bearer", "b.c", "wsframe"},
		{"auth=a", "bearer", "a", "wsframe"},
		{"", "basic", "t", "t"},
		{"", "two", "t", "t"},
	} {
		r, err := http.NewRequest(http.MethodGet, "/?"+tc.query, nil)
		if tc.query == "auth=%zz" {
			r, err = http.NewRequest(http.MethodGet, "/", nil)
			r.URL.RawQuery = tc.query
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(tc.protocols, "|") {
			r.Header.Add("Sec-WebSocket-Protocol", line)
		}
		if tc.protocols == "bearer" {
			r.Header = http.Header{"Authorization": {"bearer  b.c"}, "Sec-Websocket-Protocol": {"wsframe"}}
		}
		if tc.protocols == "basic" {
			r.Header = http.Header{"Authorization": {"Basic b"}, "Sec-Websocket-Protocol": {"t"}}
		}
		if tc.protocols == "two" {
			r.Header = http.Header{"Authorization": {"Bearer a", "Bearer b"}, "Sec-Websocket-Protocol": {"t"}}
		}
		if token, protocol := tokenOf(r); token != tc.token || protocol != tc.protocol {
			t.Errorf("%+v: %q %q", tc, token, protocol)
		}
	}
}
