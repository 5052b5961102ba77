package framework

import (
	"net/netip"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/clients"
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

// gatewayMove is what a reload moves for PHP back ends.
type gatewayMove struct {
	*clients.Clients
	peers gateway.Peers
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

// move returns what a reload moves for PHP back ends.
func (g *Gateway) move(of *clients.Clients) gatewayMove {
	if g == nil {
		return gatewayMove{of, nil}
	}
	return gatewayMove{of, g.Peers}
}
