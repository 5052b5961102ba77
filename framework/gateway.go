package framework

import (
	"bytes"
	"net"
	"net/netip"
	"strings"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/clients"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
)

// Gateway has PHP back ends of a GatewayWorker installation reach this node's connections (package
// gateway). Connections of its own port are for PHP alone: they need no token, and their messages
// are not routed.
type Gateway struct {
	Address  netip.AddrPort      // by which PHP reaches the inner port, part of every client_id
	Origins  []string            // pages that may connect to the gateway's own port; "*" = all
	Greeting string              // sent to each client of that port, with {client_id} replaced; "" = nothing
	Events   gateway.Clients     // takes what these clients do; nil = their messages are dropped
	Refused  func(reason string) // called for each join and bind beyond a limit; nil = not reported
}

// options returns the parts that Clients need; a nil Gateway has none.
func (g *Gateway) options() (events gateway.Clients, refused func(reason string)) {
	refused = func(string) {}
	if g == nil {
		return nil, refused
	}
	if g.Refused != nil {
		refused = g.Refused
	}
	return g.Events, refused
}

// clientID returns the client_id of a connection of this node; "" without a Gateway.
func (s *Server) clientID(fd int64) string {
	if s.gateway == nil {
		return ""
	}
	return gateway.ClientID{Gateway: s.gateway.Address, Connection: clients.ID(fd)}.String()
}

// ClientID returns the client_id by which PHP back ends reach this connection: 20 hexadecimal
// digits. It is "" where no gateway is configured.
func (c *Ctx) ClientID() string { return c.server.clientID(c.FD) }

// GatewayBackend returns this node's connections as package gateway needs them.
func (a *App) GatewayBackend() gateway.Backend { return a.clients.Backend() }

// ServeGateway is Serve of the gateway's own port, whose clients are PHP's.
func (a *App) ServeGateway(ln net.Listener) error {
	d := foreignDoor{a.entrance, a.gateway}
	return a.port.ServeAs(ln, accept.Policy{
		Origins: a.gateway.Origins, AllowNoOrigin: true, NoPages: true, Open: d.open, Unavailable: d.unavailable,
		Authenticate: func(string) (Identity, error) { return Identity{}, nil },
	})
}

// foreignDoor makes connections of the gateway's own port.
type foreignDoor struct {
	*entrance
	gateway *Gateway
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
