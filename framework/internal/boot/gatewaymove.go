package boot

import (
	"go.uber.org/zap"

	"wsframe/framework/gateway"
)

var _ gateway.Peers = (*phpGateway)(nil)

// The first byte of a moved connection's state names its port.
const (
	movedInner    = 'i'
	movedRegister = 'r'
)

// Freeze implements gateway.Peers.
func (g *phpGateway) Freeze() {
	g.inner.Freeze()
	g.register.Freeze()
}

// Thaw implements gateway.Peers.
func (g *phpGateway) Thaw() {
	g.register.Thaw()
	g.inner.Thaw()
}

// Release implements gateway.Peers. Heartbeats and limits of clients are the next process's from
// now on.
func (g *phpGateway) Release() {
	g.register.Release()
	g.inner.Release()
	if g.stop != nil {
		g.stop()
	}
}

// Export implements gateway.Peers.
func (g *phpGateway) Export() (peers []gateway.MovedPeer, state []byte) {
	add := func(port byte, list []gateway.MovedPeer) {
		for _, p := range list {
			peers = append(peers, gateway.MovedPeer{File: p.File, State: append([]byte{port}, p.State...)})
		}
	}
	add(movedInner, g.inner.Export())
	add(movedRegister, g.register.Export())
	if g.workers != nil {
		state = g.workers.ExportGone()
	}
	return peers, state
}

// Import implements gateway.Peers.
func (g *phpGateway) Import(peers []gateway.MovedPeer, state []byte) {
	if g.workers != nil {
		if err := g.workers.ImportGone(state); err != nil {
			g.log.Error("gateway: events of clients that have gone are lost", zap.Error(err))
		}
		defer g.workers.Restored()
	}
	for _, p := range peers {
		port := byte(0)
		if len(p.State) > 0 {
			port, p.State = p.State[0], p.State[1:]
		}
		serve := g.inner.Import
		if port == movedRegister {
			serve = g.register.Import
		}
		if err := serve(p); err != nil {
			g.log.Warn("gateway: a connection of PHP was not taken over", zap.Error(err))
		}
	}
}
