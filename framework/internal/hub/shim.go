package hub

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/lxzan/gws"

	"wsframe/framework/internal/wire"
)

// shim is the net.Conn that gws sees instead of the socket.
type shim Conn

// Read gives gws complete frames only; see inbound.
func (s *shim) Read(p []byte) (int, error) { return s.in.read(p) }

// Write takes the only things gws writes itself: the handshake answer, and the close frame that ends its read loop.
func (s *shim) Write(p []byte) (int, error) {
	c := (*Conn)(s)
	n := len(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state == opening && c.adopted:
		// The client has had its answer, from another process.
	case c.state == opening:
		c.in.deflate = bytes.Contains(p, []byte("permessage-deflate"))
		if err := c.out.answer(withProtocol(p, c.proto)); err != nil {
			return 0, err
		}
	case c.state == open && !c.moved && len(p) >= 2 && p[0] == 0x80|wire.OpClose:
		// gws answers the peer's close frame, reports a fault in a message, or gives up because Read failed.
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

// inOurWords says why gws ends a connection as the protocol of this server does. frame is gws's close frame.
func inOurWords(end wire.Close, frame []byte) wire.Close {
	switch end.Code {
	case wire.CloseBadData:
		end.Reason = "not valid UTF-8"
	case wire.CloseInternal:
		// It says so whatever is wrong with a compressed message.
		if bytes.Contains(frame, []byte("too large")) {
			return wire.Close{Code: wire.CloseTooLarge, Reason: "message too large"}
		}
		return wire.Close{Code: wire.CloseBadData, Reason: "compressed data cannot be read"}
	}
	return end
}

// Close does nothing: the close path alone decides when the socket is closed.
func (s *shim) Close() error { return nil }

// gws asks for no address.
func (s *shim) LocalAddr() net.Addr  { return nil }
func (s *shim) RemoteAddr() net.Addr { return nil }

// gws sets deadlines around its handshake answer only; ours are set where they are needed.
func (s *shim) SetDeadline(time.Time) error      { return nil }
func (s *shim) SetReadDeadline(time.Time) error  { return nil }
func (s *shim) SetWriteDeadline(time.Time) error { return nil }

// withProtocol adds the chosen subprotocol to the 101: the token may travel as one, which gws cannot negotiate.
func withProtocol(response []byte, protocol string) []byte {
	if protocol == "" {
		return response
	}
	head := bytes.TrimSuffix(response, []byte("\r\n"))
	return append(append([]byte(nil), head...), "Sec-WebSocket-Protocol: "+protocol+"\r\n\r\n"...)
}

// events receives gws's callbacks.
type events struct{}

func (events) OnOpen(*gws.Conn) {}

// OnMessage hands a complete message on. The compiler cannot know that NetConn is our shim; gws gives back what Serve gave it.
func (events) OnMessage(ws *gws.Conn, m *gws.Message) {
	c := (*Conn)(ws.NetConn().(*shim))
	defer m.Close()
	c.in.binary = m.Opcode == gws.OpcodeBinary
	c.in.dispatch(m.Bytes())
}

// OnPing answers with the ping's payload (RFC 6455 §5.5.3); gws's own handler answers with an empty pong.
func (events) OnPing(ws *gws.Conn, payload []byte) {
	(*Conn)(ws.NetConn().(*shim)).out.control(wire.ControlFrame(wire.OpPong, payload))
}

func (events) OnPong(*gws.Conn, []byte) {}

// OnClose learns the peer's own close code, which the echoed frame does not always carry.
func (events) OnClose(ws *gws.Conn, err error) {
	c := (*Conn)(ws.NetConn().(*shim))
	var peer *gws.CloseError
	if !errors.As(err, &peer) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sock.woken {
		return // we closed first
	}
	c.close = wire.Close{Code: int(peer.Code), Reason: string(peer.Reason)}
	if peer.Code == 0 {
		c.close.Code = wire.CloseNoStatus
	}
}

// noSession spares gws's session map per connection: ours lies in Conn.Data.
type noSession struct{}

func (noSession) Len() int                               { return 0 }
func (noSession) Load(string) (any, bool)                { return nil, false }
func (noSession) Delete(string)                          {}
func (noSession) Store(string, any)                      {}
func (noSession) Range(func(key string, value any) bool) {}

// quiet drops gws's own log lines; what matters reaches Handler.Closed with its code.
type quiet struct{}

func (quiet) Error(...any) {}
