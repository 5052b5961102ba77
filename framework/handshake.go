package framework

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// handshakes are the connections whose request has not come whole, or whose refusal is being read: those that end with the listeners.
type handshakes struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	over  bool
}

// begin is false once the listeners have ended.
func (h *handshakes) begin(c net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	if h.conns == nil {
		h.conns = map[net.Conn]struct{}{}
	}
	h.conns[c] = struct{}{}
	return true
}

// end forgets a connection: its deadlines are its own from here on.
func (h *handshakes) end(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

// cut wakes whoever waits for a client that is not in yet.
func (h *handshakes) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for c := range h.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // it may have ended by itself
	}
}

// heads are the buffers that requests are read into.
var heads = sync.Pool{New: func() any { return new([]byte) }}

var parsers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}

var (
	errHeadTooLarge = errors.New("the request head is too large")
	errNotHTTP      = errors.New("not an HTTP request")
	lineEnd         = []byte("\r\n")
	headEnd         = []byte("\r\n\r\n")
)

// readHead reads until the blank line behind the request's headers. It returns all bytes that arrived and where the head
// ends: a client may have sent its first frame along.
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

// plausible tells whether a request line may begin with b: garbage is refused at its first byte.
func plausible(b byte) bool { return b >= 'A' && b <= 'Z' }

func parseHead(head []byte) (*http.Request, error) {
	br := parsers.Get().(*bufio.Reader)
	defer parsers.Put(br)
	br.Reset(bytes.NewReader(head))
	return http.ReadRequest(br)
}

// wantsWebSocket tells a handshake from a request for a page. An upgrade to anything else is a wish that a server may pass over
// (RFC 9110 section 7.8).
func wantsWebSocket(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket")
}

// Reasons that stand at several places. They are told to clients, counted and logged, so nothing of a client's stands in them.
const (
	reasonMalformed = "the request line or a header is malformed"
	reasonStopping  = "the server stops"
	reasonCutOff    = "the server is cut off from Redis"
	reasonVersion   = "Sec-WebSocket-Version must be 13"
)

// malformed finds what http.ReadRequest lets pass: another server in front may have read the same bytes otherwise (RFC 9112 sections
// 2.2, 3.2, 5.1 and 5.2). "" = nothing.
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

// notUpgrade holds RFC 6455 section 4.2.1 against the request. "" = it is a handshake. A body is none of one: it would be read as frames.
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
		return "a handshake has no body: no Content-Length, no Transfer-Encoding"
	case !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade"):
		return "Connection must hold upgrade"
	case len(r.Header["Sec-Websocket-Version"]) != 1 || r.Header.Get("Sec-WebSocket-Version") != "13":
		return reasonVersion
	case len(r.Header["Sec-Websocket-Key"]) != 1 || err != nil || len(key) != 16:
		return "Sec-WebSocket-Key must be 16 bytes in base64"
	}
	return ""
}
