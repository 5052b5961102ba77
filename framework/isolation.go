package framework

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// ErrUnavailable is returned for a push that no other node could get: this one has not reached Redis for the time of a lease.
var ErrUnavailable = errors.New("this node is cut off from Redis")

// isolatedClose is the cluster.isolated under which clients of a node that is cut off are sent to others.
const isolatedClose = "close"

// isolation sends clients away from a node that Redis has not answered for a lease: others count it as dead, and what is published
// there does not arrive here. Where no other node lived last, they stay: no other could take them.
type isolation struct {
	app    *App
	spread time.Duration // over which the clients are closed

	was    bool      // isolated
	begun  time.Time // the sending away; zero: there is none
	total  int       // connections at its begin
	closed int       // of these
}

// Isolated tells whether this node has not reached Redis for the time of a lease: it is not ready for clients. It asks nobody.
func (a *App) Isolated() bool { return a.node.Isolated() }

// evicts tells whether another node is to have this one's clients.
func (a *App) evicts() bool {
	return a.node.Isolated() && a.cfg.Cluster.Isolated == isolatedClose && a.node.Accompanied()
}

// run looks at it from time to time until the worker's part is over.
func (i *isolation) run() {
	tick := time.NewTicker(max(i.spread/120, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			i.step(now)
		case <-i.app.life.Done():
			return
		}
	}
}

// step closes the share of the clients whose time has come.
func (i *isolation) step(now time.Time) {
	a := i.app
	isolated, evicts := a.node.Isolated(), a.evicts()
	if isolated != i.was {
		i.was = isolated
		i.say(isolated, evicts)
	}
	if !evicts {
		i.begun = time.Time{}
		return
	}
	if i.begun.IsZero() {
		i.begun, i.total, i.closed = now, a.hub.Len(), 0
	}
	share := min(float64(now.Sub(i.begun))/float64(i.spread), 1)
	due := int(share*float64(i.total)) + 1
	a.hub.Each(func(c *hub.Conn) bool {
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

func (i *isolation) say(isolated, evicts bool) {
	if !isolated {
		i.app.log.Info("this node reaches Redis again, and is ready")
		return
	}
	i.app.log.Error("this node has not reached Redis for the time of a lease: it is not ready, and pushes to rooms are refused", zap.Bool("clients_closed", evicts))
}
