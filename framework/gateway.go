package framework

import (
	"net/netip"

	"wsframe/framework/gateway"
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
