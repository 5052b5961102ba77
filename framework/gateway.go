package framework

import (
	"net/netip"

	"wsframe/framework/gateway"
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
	Peers    gateway.Peers       // the connections of PHP programs, which a reload moves; nil = none
}

// config is that of the clients of this node.
func (g *Gateway) config(h *hub.Hub, s *session.Sessions) clients.Config {
	c := clients.Config{Hub: h, Sessions: s, Refused: func(string) {}}
	if g == nil {
		return c
	}
	c.Gateway, c.Events = g.Address, g.Events
	if g.Refused != nil {
		c.Refused = g.Refused
	}
	return c
}

// announced returns the address that other nodes list; "" = none.
func (g *Gateway) announced() string {
	if g == nil {
		return ""
	}
	return g.Address.String()
}

// departed tells of the end of a client of the gateway's own port that ended with its node. note is
// what the node has left of it in Redis.
func (g *Gateway) departed(fd int64, note string) {
	if g == nil || g.Events == nil {
		return
	}
	if d, ok := clients.ReadNote(fd, note); ok {
		g.Events.Departed(d)
	}
}

// gatewayMove is what a reload moves for PHP back ends.
type gatewayMove struct {
	*clients.Clients
	peers    gateway.Peers
	imported func(c *hub.Conn) // called first for each imported connection
}

// Freeze implements reload.Gateway.
func (m gatewayMove) Freeze() {
	if m.peers != nil {
		m.peers.Freeze()
	}
	m.Clients.Freeze()
}

// Thaw implements reload.Gateway.
func (m gatewayMove) Thaw() {
	m.Clients.Thaw()
	if m.peers != nil {
		m.peers.Thaw()
	}
}

// Export implements reload.Gateway.
func (m gatewayMove) Export() (peers []gateway.MovedPeer, state []byte) {
	if m.peers == nil {
		return nil, nil
	}
	return m.peers.Export()
}

// Release implements reload.Gateway.
func (m gatewayMove) Release() {
	if m.peers != nil {
		m.peers.Release()
	}
}

// Import implements reload.Gateway.
func (m gatewayMove) Import(peers []gateway.MovedPeer, state []byte) {
	if m.peers != nil {
		m.peers.Import(peers, state)
		return
	}
	for _, p := range peers {
		_ = p.File.Close()
	}
}

// Imported implements reload.Gateway.
func (m gatewayMove) Imported(c *hub.Conn) error {
	m.imported(c)
	return m.Clients.Imported(c)
}

// move returns what a reload moves for PHP back ends, and for pages.
func (g *Gateway) move(of *clients.Clients, imported func(*hub.Conn)) gatewayMove {
	if g == nil {
		return gatewayMove{of, nil, imported}
	}
	return gatewayMove{of, g.Peers, imported}
}
