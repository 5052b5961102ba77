package framework

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
)

// foreignDoor makes connections of the gateway's own port.
type foreignDoor struct {
	*entrance
	gateway *Gateway
}

func (d foreignDoor) serveOn(ln net.Listener) error {
	if d.gateway == nil {
		return errors.Join(errors.New("no gateway is configured"), ln.Close())
	}
	return d.port.ServeAs(ln, accept.Policy{
		Origins: d.gateway.Origins, AllowNoOrigin: true, NoPages: true, Open: d.open, Unavailable: d.unavailable,
		Authenticate: func(*accept.Handshake) (Identity, error) { return Identity{}, nil },
	})
}

// unavailable is the reason why clients are refused; "" = they may come.
func (d foreignDoor) unavailable() string {
	if reason := d.entrance.unavailable(); reason != "" || d.gateway.Events == nil {
		return reason
	}
	return d.gateway.Events.Unavailable()
}

func (d foreignDoor) open(h *accept.Handshake) error {
	opening := openingOf(h)
	return d.serve(h, session.New(nil), func(c *hub.Conn) {
		greeting := strings.ReplaceAll(d.gateway.Greeting, "{client_id}", d.server.clientID(c.FD))
		d.server.clients.Open(c, greeting, opening)
	}, func(*hub.Conn) func() { return nil })
}

// openingOf reads what PHP workers are told of a handshake. Its head is valid HTTP.
func openingOf(h *accept.Handshake) gateway.Opening {
	lines := strings.Split(string(bytes.TrimRight(h.Head, "\r\n")), "\r\n")
	o := gateway.Opening{Method: h.Request.Method, URI: h.Request.RequestURI, Proto: h.Request.Proto}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		o.Header = append(o.Header, gateway.HeaderField{Name: name, Value: strings.Trim(value, " \t")})
	}
	if peer, ok := h.Conn.RemoteAddr().(*net.TCPAddr); ok {
		o.Remote = peer.AddrPort()
	}
	if client, err := netip.ParseAddr(h.Remote); err == nil { // a trusted proxy may have named another
		o.Remote = netip.AddrPortFrom(client, o.Remote.Port())
	}
	if own, ok := h.Conn.LocalAddr().(*net.TCPAddr); ok {
		o.Port = own.AddrPort().Port()
	}
	return o
}
