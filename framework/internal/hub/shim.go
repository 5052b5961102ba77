package hub

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lxzan/gws"

	"wsframe/framework/internal/wire"
)

// shim is the net.Conn that gws sees instead of the socket.
type shim Conn

// Read returns bytes of complete frames only; see inbound.
func (s *shim) Read(p []byte) (int, error) {
	if s.in.watched.loop != nil {
		return s.in.watched.feed(p), nil
	}
	return s.in.blocking.read(p)
}

// Write handles the only bytes that gws writes itself: the handshake's response, and the close
// frame that ends its read loop.
func (s *shim) Write(p []byte) (int, error) {
	c := (*Conn)(s)
	n := len(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.in.remaking:
		// The client has got the response long ago.
	case c.state == opening:
		c.in.deflate = bytes.Contains(p, []byte("permessage-deflate"))
		if err := c.out.respond(withProtocol(p, c.proto)); err != nil {
			return 0, err
		}
	case c.state == open && !c.moved && len(p) >= 2 && p[0] == 0x80|wire.OpClose:
		// gws answers the peer's close frame, reports a fault in a message, or gives up because
		// Read failed.
		if c.in.failed {
			c.end(wire.CloseAbnormal, "")
			break
		}
		end := wire.ParseClose(p[2:])
		c.end(end.Code, end.Reason)
		if words, its := strings.CutPrefix(end.Reason, "gws: "); its || end.Code == wire.CloseInternal {
			c.close, c.closedHere = inOurWords(wire.Close{Code: end.Code, Reason: words}, p), true
			p = wire.CloseFrame(c.close.Code, c.close.Reason)
		}
		c.out.push(p, 0, false, nil)
	}
	return n, nil
}

// inOurWords translates the reason for which gws ends a connection into the terms of this server's
// protocol. frame is the close frame that gws wrote.
func inOurWords(end wire.Close, frame []byte) wire.Close {
	switch end.Code {
	case wire.CloseBadData:
		end.Reason = "not valid UTF-8"
	case wire.CloseInternal:
		// gws uses this code for every fault in a compressed message.
		if bytes.Contains(frame, []byte("too large")) {
			return wire.Close{Code: wire.CloseTooLarge, Reason: "message too large"}
		}
		return wire.Close{Code: wire.CloseBadData, Reason: "compressed data cannot be read"}
	}
	return end
}

// Close does nothing, since the close path closes the socket.
func (s *shim) Close() error { return nil }

// The addresses are never used by gws.
func (s *shim) LocalAddr() net.Addr  { return nil }
func (s *shim) RemoteAddr() net.Addr { return nil }

// Deadlines are set by gws around the handshake's response only, which never blocks.
func (s *shim) SetDeadline(time.Time) error      { return nil }
func (s *shim) SetReadDeadline(time.Time) error  { return nil }
func (s *shim) SetWriteDeadline(time.Time) error { return nil }

// withProtocol adds the chosen subprotocol to the 101. The token may be sent as a subprotocol,
// which gws cannot negotiate.
func withProtocol(response []byte, protocol string) []byte {
	if protocol == "" {
		return response
	}
	head := bytes.TrimSuffix(response, []byte("\r\n"))
	return append(append([]byte(nil), head...), "Sec-WebSocket-Protocol: "+protocol+"\r\n\r\n"...)
}

// events receives the callbacks of gws.
type events struct{}

func (events) OnOpen(*gws.Conn) {}

// OnMessage dispatches a complete message. NetConn always returns the shim that Serve passed to
// gws.
func (events) OnMessage(ws *gws.Conn, m *gws.Message) {
	c := (*Conn)(ws.NetConn().(*shim))
	defer m.Close()
	c.in.binary = m.Opcode == gws.OpcodeBinary
	c.in.dispatch(m.Bytes())
}

// OnPing answers with the ping's payload (RFC 6455 §5.5.3); the default of gws is an empty pong.
func (events) OnPing(ws *gws.Conn, payload []byte) {
	(*Conn)(ws.NetConn().(*shim)).out.control(wire.ControlFrame(wire.OpPong, payload))
}

func (events) OnPong(*gws.Conn, []byte) {}

// OnClose records the peer's close code, which the echoed frame does not always carry.
func (events) OnClose(ws *gws.Conn, err error) {
	c := (*Conn)(ws.NetConn().(*shim))
	var peer *gws.CloseError
	if !errors.As(err, &peer) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sock.woken {
		return // the server closed first
	}
	c.close = wire.Close{Code: int(peer.Code), Reason: string(peer.Reason)}
	if peer.Code == 0 {
		c.close.Code = wire.CloseNoStatus
	}
}

// noSession replaces the map that gws makes for each connection; Conn.Data serves that purpose.
type noSession struct{}

func (noSession) Len() int                               { return 0 }
func (noSession) Load(string) (any, bool)                { return nil, false }
func (noSession) Delete(string)                          {}
func (noSession) Store(string, any)                      {}
func (noSession) Range(func(key string, value any) bool) {}

// quiet drops the log lines of gws. Handler.Closed gets the codes of all faults.
type quiet struct{}

func (quiet) Error(...any) {}

// makeGWS makes the connection's gws.Conn unless there is one. gws is shown a handshake whose
// response is discarded.
func (in *inbound) makeGWS() {
	if in.ws != nil {
		return
	}
	h := in.c.hub
	upgrader, request := h.upgrader, plainRequest
	if in.deflate { // what was negotiated holds whatever this configuration says
		upgrader, request = h.deflating(), deflateRequest
	}
	in.br = bufio.NewReaderSize((*shim)(in.c), 64)
	in.remaking = true
	ws, err := upgrader.UpgradeFromConn((*shim)(in.c), in.br, request)
	in.remaking = false
	if err != nil {
		panic(err) // not expected: the request is ours
	}
	in.ws = ws
}

// Handshake requests that gws is shown for connections which it has not upgraded. They are only
// read.
var (
	plainRequest   = handshakeRequest("")
	deflateRequest = handshakeRequest("permessage-deflate")
)

func handshakeRequest(extensions string) *http.Request {
	return &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Sec-Websocket-Extensions": {extensions},
	}}
}

// buffered reports whether gws has buffered frames, since an action below it has ended its
// goroutine.
func (in *inbound) buffered() bool { return in.br != nil && in.br.Buffered() > 0 }
