// Package isolation closes the clients of a node that Redis has not answered for the time of a
// lease.
//
// Other nodes count such a node as dead, and nothing that is published on them arrives here.
// Clients stay where no other node lived last, since no other could take them.
package isolation

import (
	"context"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// isolatedClose is the value of cluster.isolated by which the clients are closed.
const isolatedClose = "close"

// Cluster tells what is known here of this node and the others (package cluster). It asks nobody.
type Cluster interface {
	// Isolated tells whether Redis has not answered for the time of a lease.
	Isolated() bool
	// Accompanied tells whether another node had a lease during this one's last.
	Accompanied() bool
}

// Config of a Watch.
type Config struct {
	Policy  string        // cluster.isolated
	Spread  time.Duration // the time in which all clients are closed
	Hub     *hub.Hub
	Cluster Cluster
	Log     *zap.Logger
}

// Watch watches whether this node is cut off. New makes one.
type Watch struct {
	cfg Config

	isolated bool      // at the last step
	begun    time.Time // when closing has begun; zero: it has not
	total    int       // connections at that time
	closed   int       // of these
}

// New makes a Watch.
func New(cfg Config) *Watch { return &Watch{cfg: cfg} }

// Evicts tells whether this node closes its clients, and refuses new ones, so that other nodes
// get them. It is safe for concurrent use, and asks nobody.
func (i *Watch) Evicts() bool {
	return i.cfg.Cluster.Isolated() && i.cfg.Policy == isolatedClose && i.cfg.Cluster.Accompanied()
}

// Run watches until life ends.
func (i *Watch) Run(life context.Context) {
	tick := time.NewTicker(max(i.cfg.Spread/120, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			i.step(now)
		case <-life.Done():
			return
		}
	}
}

// step closes the clients whose time has come.
func (i *Watch) step(now time.Time) {
	isolated, evicts := i.cfg.Cluster.Isolated(), i.Evicts()
	if isolated != i.isolated {
		i.isolated = isolated
		i.log(evicts)
	}
	if !evicts {
		i.begun = time.Time{}
		return
	}
	if i.begun.IsZero() {
		i.begun, i.total, i.closed = now, i.cfg.Hub.Len(), 0
	}
	share := min(float64(now.Sub(i.begun))/float64(i.cfg.Spread), 1)
	due := int(share*float64(i.total)) + 1
	i.cfg.Hub.Each(func(c *hub.Conn) bool {
		if i.closed >= due {
			return false
		}
		if !c.ClosingSoon() {
			i.closed++
			c.Close(wire.CloseRestart, "server is cut off")
		}
		return true
	})
}

func (i *Watch) log(evicts bool) {
	if !i.isolated {
		i.cfg.Log.Info("this node reaches Redis again, and is ready")
		return
	}
	i.cfg.Log.Error("this node has not reached Redis for the time of a lease: it is not ready, and pushes to rooms are refused", zap.Bool("clients_closed", evicts))
}
