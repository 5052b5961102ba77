// Package closing is the end of a connection: kicks and dismissals, which close it after what is on its way, and what happens once it
// has ended, whatever ended it: its close listeners, its close keys, its bookkeeping (contract §4).
//
// While Redis does not answer nobody knows whether another node was to do that already, so ends are held until it is known. A Closer is
// safe for concurrent use.
package closing

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/tally"
	"wsframe/framework/internal/wire"
)

// End is the end of a connection, as its close listeners hear of it.
type End struct {
	FD     int64
	Auth   api.Identity
	Code   int // 1006 where it ended without one
	Reason string
}

// Cluster is this node's bookkeeping in Redis (package cluster).
type Cluster interface {
	Owner(fd int64) (mine, known bool)
	Owns(ctx context.Context, fd int64) (bool, error)
	Unheard() map[int64]bool
	Closed(e cluster.Entry)
}

// Config of a Closer.
type Config struct {
	Hub      *hub.Hub
	Nodes    *ask.Nodes
	Link     *link.Link
	Sessions *session.Sessions
	Cluster  Cluster
	Notify   func(listeners []string, e End) // runs the listeners' OnClose; a panic is caught there
	Protect  func(what string, f func())
	Log      *zap.Logger
}

// Closer is made by New.
type Closer struct {
	cfg    Config
	Counts tally.Tally // connections that the server closed, by close code
	held   *heldEnds
}

// New makes a Closer, and has this node answer others.
func New(cfg Config) *Closer {
	cl := &Closer{cfg: cfg, held: newHeldEnds(cfg.Cluster, cfg.Log)}
	cl.answer()
	return cl
}

// Close waits for the ends that are held, as long as ctx.
func (cl *Closer) Close(ctx context.Context) { cl.held.close(ctx) }

// Ended does what follows the end of a connection that was in those rooms (hub.Handler). A node that was declared dead leaves it to
// whoever did so.
func (cl *Closer) Ended(c *hub.Conn, code int, reason string, rooms []string) {
	cl.count(c, code, reason)
	e := session.Traces(c, rooms)
	end := func(owned bool) {
		if owned {
			cl.cfg.Notify(e.Listeners, End{c.FD, c.Auth, code, reason})
		}
		cl.cfg.Sessions.Ended(c, rooms, owned) // also where another node cleans up: it may not have known of all of them
		if owned {
			cl.cfg.Cluster.Closed(e)
		}
		if cl.cfg.Log.Core().Enabled(zap.DebugLevel) {
			cl.cfg.Log.Debug("connection ended", zap.Int64("fd", c.FD), zap.Int("code", code))
		}
	}
	if mine, known := cl.cfg.Cluster.Owner(c.FD); known {
		end(mine)
	} else {
		cl.held.hold(c.FD, end)
	}
}

// Orphan runs the close listeners of a connection whose process died (cluster.Config.Orphan).
func (cl *Closer) Orphan(_ context.Context, o cluster.Orphan) {
	var id api.Identity
	if err := json.Unmarshal(o.Auth, &id); err != nil {
		cl.cfg.Log.Warn("identity of a dead connection cannot be read", zap.Int64("fd", o.FD), zap.Error(err))
	}
	cl.cfg.Notify(o.Listeners, End{o.FD, id, wire.CloseAbnormal, "server ended"})
}

// Deposed closes the connections of before this node was declared dead, those with an fd below floor; their clients come back at once.
func (cl *Closer) Deposed(floor int64) {
	cl.cfg.Hub.Each(func(c *hub.Conn) bool {
		if c.FD < floor {
			hub.CloseAfter([]*hub.Conn{c}, wire.CloseRestart, "server was away")
		}
		return true
	})
}

// count counts what the server has closed. What a client or a slow line has brought about is logged, once a minute for each reason.
func (cl *Closer) count(c *hub.Conn, code int, reason string) {
	if !c.ClosedHere() {
		return
	}
	switch code {
	case wire.CloseProtocolError, wire.CloseBadData, wire.ClosePolicy, wire.CloseTooLarge, wire.CloseInternal, wire.CloseSlow:
		if n := cl.Counts.Note(code, reason, time.Now()); n > 0 {
			cl.cfg.Log.Warn("connection closed", zap.Int("code", code), zap.String("reason", reason), zap.Int64("since_last", n),
				zap.Int64("fd", c.FD), zap.String("remote", c.Remote))
		}
	case wire.CloseNormal, wire.CloseGoingAway, wire.CloseRestart, wire.CloseIdle, wire.CloseReplaced, wire.CloseRefused:
		cl.Counts.Note(code, reason, time.Now())
	default: // a Kick, with words of the application's
		cl.Counts.Note(code, "application", time.Now())
	}
}
