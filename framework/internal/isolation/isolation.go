// Package isolation sends clients away from a node that Redis has not answered for a lease: others count it as dead, and what is published
// there does not arrive here. Where no other node lived last they stay, since no other could take them.
package isolation

import (
	"context"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// isolatedClose is the cluster.isolated under which clients of a node that is cut off are sent to others.
const isolatedClose = "close"

// Cluster tells how this node stands (package cluster). It asks nobody.
type Cluster interface {
	Isolated() bool    // Redis has not answered for a lease
	Accompanied() bool // another node had a lease during this one's last
}

// Config of a Watch.
type Config struct {
	Policy  string        // cluster.isolated
	Spread  time.Duration // over which the clients are closed
	Hub     *hub.Hub
	Cluster Cluster
	Log     *zap.Logger
}

// Watch is made by New.
type Watch struct {
	cfg Config

	was    bool      // isolated
	begun  time.Time // the sending away; zero: there is none
	total  int       // connections at its begin
	closed int       // of these
}

// New makes a Watch.
func New(cfg Config) *Watch { return &Watch{cfg: cfg} }

// Evicts tells whether another node is to have this one's clients. It is safe for concurrent use, and asks nobody.
func (i *Watch) Evicts() bool {
	return i.cfg.Cluster.Isolated() && i.cfg.Policy == isolatedClose && i.cfg.Cluster.Accompanied()
}

// Run looks at it from time to time until life ends.
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

// step closes the share of the clients whose time has come.
func (i *Watch) step(now time.Time) {
	isolated, evicts := i.cfg.Cluster.Isolated(), i.Evicts()
	if isolated != i.was {
		i.was = isolated
		i.say(isolated, evicts)
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

func (i *Watch) say(isolated, evicts bool) {
	if !isolated {
		i.cfg.Log.Info("this node reaches Redis again, and is ready")
		return
	}
	i.cfg.Log.Error("this node has not reached Redis for the time of a lease: it is not ready, and pushes to rooms are refused", zap.Bool("clients_closed", evicts))
}
