package accept

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"wsframe/framework/internal/wire"
	"wsframe/library/socket"
)

// Browsers hide the HTTP status of a refused handshake from their pages. So a client that offers
// the subprotocol wsframe.v1, and nobody else, gets a refusal as a close code after a 101. The
// server then selects wsframe.refused if the client offers it, so that the client does not take the
// connection for open. No number, no state and no place belongs to such a connection: nothing that
// it sends is looked at, and it ends within a second.
const (
	protocolV1      = "wsframe.v1"
	protocolRefused = "wsframe.refused"
)

// reasons of refusals that have close codes of their own.
const (
	reasonOrigin  = "origin"
	reasonToken   = "token"
	reasonAddress = "connections of one address"
)

// maxRefusing is the number of refused connections that may wait for their client's end at once.
// Beyond it they end as soon as the code is written, so that they cannot be used to hold sockets.
const maxRefusing = 256

const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3

// offered returns the valid subprotocols that a client offers, in its order.
func offered(r *http.Request) (list []string) {
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); httpguts.ValidHeaderFieldName(p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// closeOf returns the close code and reason of a refusal; 0 = it has none, and is an HTTP response.
func (r *Refusal) closeOf() (int, string) {
	switch {
	case r.Status == http.StatusTooManyRequests || r.Reason == reasonAddress:
		return wire.CloseTooMany, "too many connections"
	case r.Reason == reasonOrigin:
		return wire.CloseOrigin, "origin"
	case r.Status == http.StatusForbidden || r.Status == http.StatusUnauthorized:
		return wire.CloseToken, "token"
	}
	return 0, ""
}

// turnAway refuses a valid handshake: by a close code if the client understands it, and the rate of
// its address allows a full answer, else by HTTP.
func (s *Server) turnAway(h *Handshake, r *Refusal) {
	code, text := r.closeOf()
	list := offered(h.Request)
	if code == 0 || !slices.Contains(list, protocolV1) {
		s.refuse(h.Conn, h.Remote, r)
		return
	}
	if bare := s.note(h.Remote, r); bare {
		s.write(h.Conn, r.response(bare), false)
		return
	}
	selected := protocolV1
	if slices.Contains(list, protocolRefused) {
		selected = protocolRefused
	}
	defer s.refusing.Add(-1)
	s.write(h.Conn, refusedHandshake(h.Request, selected, code, text), s.refusing.Add(1) <= maxRefusing)
}

// refusedHandshake is a 101 with the close frame behind it.
func refusedHandshake(r *http.Request, protocol string, code int, reason string) []byte {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + acceptGUID))
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), protocol)
	w.Write(wire.CloseFrame(code, reason))
	return w.Bytes()
}

// write sends the last bytes of a connection and closes it. lingers: the client's end is awaited,
// at most for a second in all.
func (s *Server) write(conn Conn, data []byte, lingers bool) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(socket.LingerTime)) != nil {
		return
	}
	if _, err := conn.Write(data); err == nil && lingers && !s.listeners.stopping.Load() {
		socket.Linger(conn)
	}
}
