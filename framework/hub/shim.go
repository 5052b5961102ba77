package hub

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/lxzan/gws"
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
		c.deflate = bytes.Contains(p, []byte("permessage-deflate"))
		if err := c.sock.writeAll(withProtocol(p, c.proto), c.hub.cfg.WriteTimeout); err != nil {
			return 0, err
		}
	case c.state == open && !c.moved && len(p) >= 2 && p[0] == 0x80|opClose:
		// gws answers the peer's close frame, reports a fault in a message, or gives up because Read failed.
		if c.in.failed {
			c.end(CloseAbnormal, "")
			break
		}
		c.end(CloseNoStatus, "")
		if len(p) >= 4 {
			c.closeCode, c.closeReason = int(p[2])<<8|int(p[3]), string(p[4:])
		}
		if words, its := strings.CutPrefix(c.closeReason, "gws: "); its || c.closeCode == CloseInternal {
			c.closeReason, c.closedHere = words, true
			switch c.closeCode {
			case CloseBadData:
				c.closeReason = "not valid UTF-8"
			case CloseInternal:
				// It says so whatever is wrong with a compressed message.
				c.closeCode, c.closeReason = CloseBadData, "compressed data cannot be read"
				if bytes.Contains(p, []byte("too large")) {
					c.closeCode, c.closeReason = CloseTooLarge, "message too large"
				}
			}
			p = closeFrame(c.closeCode, c.closeReason)
		}
		c.push(p, 0, false)
	}
	return n, nil
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
	c.dispatch(m.Bytes())
}

// OnPing answers with the ping's payload (RFC 6455 §5.5.3); gws's own handler answers with an empty pong.
func (events) OnPing(ws *gws.Conn, payload []byte) {
	(*Conn)(ws.NetConn().(*shim)).control(controlFrame(opPong, payload))
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
	c.closeCode, c.closeReason = int(peer.Code), string(peer.Reason)
	if peer.Code == 0 {
		c.closeCode = CloseNoStatus
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
