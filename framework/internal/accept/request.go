package accept

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

var parsers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}

var (
	errHeadTooLarge = errors.New("the request head is too large")
	errNotHTTP      = errors.New("not an HTTP request")
	lineEnd         = []byte("\r\n")
	headEnd         = []byte("\r\n\r\n")
)

// readHead reads up to the blank line after the headers. It returns all bytes that arrived and the
// length of the head, since a client may send its first frame with it.
func readHead(nc net.Conn, buf []byte) ([]byte, int, error) {
	n := 0
	for {
		m, err := nc.Read(buf[n:])
		from := max(0, n-3)
		n += m
		if i := bytes.Index(buf[from:n], headEnd); i >= 0 {
			return buf[:n], from + i + len(headEnd), nil
		}
		if n == len(buf) {
			return nil, 0, errHeadTooLarge
		}
		if n > 0 && !plausible(buf[0]) {
			return nil, 0, errNotHTTP
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

// plausible reports whether a request line may begin with b, so that other protocols end at one
// byte.
func plausible(b byte) bool { return b >= 'A' && b <= 'Z' }

func parseHead(head []byte) (*http.Request, error) {
	br := parsers.Get().(*bufio.Reader)
	defer parsers.Put(br)
	br.Reset(bytes.NewReader(head))
	return http.ReadRequest(br)
}

// wantsWebSocket reports whether the request is a handshake. A server may ignore an upgrade to
// anything else (RFC 9110 §7.8).
func wantsWebSocket(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket")
}

// notWebSocket returns why a request is no handshake; "" = it is one.
func notWebSocket(r *http.Request) string {
	if wantsWebSocket(r) {
		return ""
	}
	return "this port speaks WebSocket only"
}

// Reasons that are used more than once. Clients, metrics and the log get them, so they contain
// nothing that a client wrote.
const (
	reasonMalformed = "the request line or a header is malformed"
	reasonStopping  = "the server stops"
	reasonFull      = "the server is full"
	reasonVersion   = "Sec-WebSocket-Version must be 13"
	reasonBody      = "a handshake has no body: no Content-Length, no Transfer-Encoding"
)

// malformed returns the fault of a head that http.ReadRequest accepts, and a proxy may read
// differently, "" = none (RFC 9112 §2.2, §3.2, §5.1, §5.2).
func malformed(head []byte) string {
	hosts := 0
	lines := bytes.Split(bytes.TrimSuffix(head, headEnd), lineEnd)
	for i, line := range lines {
		if bytes.ContainsAny(line, "\r\n\x00") {
			return "a line holds a bare CR, LF or NUL"
		}
		if i == 0 {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !httpguts.ValidHeaderFieldName(string(name)) || !httpguts.ValidHeaderFieldValue(string(value)) {
			return reasonMalformed
		}
		if bytes.EqualFold(name, []byte("host")) {
			hosts++
		}
	}
	if hosts > 1 {
		return "Host is there more than once"
	}
	return ""
}

// notUpgrade returns what is wrong with a handshake by RFC 6455 §4.2.1; "" = nothing. A body is
// refused, since it would be read as frames.
func notUpgrade(r *http.Request) string {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case r.Method != http.MethodGet:
		return "the method must be GET"
	case !r.ProtoAtLeast(1, 1):
		return "HTTP/1.1 is needed"
	case r.Host == "":
		return "Host is missing"
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return reasonBody
	case !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade"):
		return "Connection must hold upgrade"
	case len(r.Header["Sec-Websocket-Version"]) != 1 || r.Header.Get("Sec-WebSocket-Version") != "13":
		return reasonVersion
	case len(r.Header["Sec-Websocket-Key"]) != 1 || err != nil || len(key) != 16:
		return "Sec-WebSocket-Key must be 16 bytes in base64"
	}
	return ""
}

// tokenOf returns the token: the query's auth, the Authorization header's Bearer (RFC 6750 §2.1),
// which browsers cannot send, or the last Sec-WebSocket-Protocol offered that is no name of this
// server's protocol. Proxies do not log the last two. protocol is the first offered (RFC 6455
// §4.2.2), so a client that offers "wsframe" before its token does not get the token back.
func tokenOf(r *http.Request) (token, protocol string) {
	var last string
	for _, p := range offered(r) {
		protocol = cmp.Or(protocol, p)
		if p != protocolV1 && p != protocolRefused {
			last = p
		}
	}
	if q := r.URL.RawQuery; q != "" {
		// url.ParseQuery would turn + into a space, and the original's form needs none of its
		// decoding but %XX.
		for pair := range strings.SplitSeq(q, "&") {
			if v, ok := strings.CutPrefix(pair, "auth="); ok {
				if token, err := url.PathUnescape(v); err == nil {
					v = token
				}
				return v, protocol
			}
		}
	}
	if values := r.Header["Authorization"]; len(values) == 1 {
		if scheme, v, ok := strings.Cut(values[0], " "); ok && strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(v), protocol
		}
	}
	return last, protocol
}
