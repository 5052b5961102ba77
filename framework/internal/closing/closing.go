// Package closing ends connections: it closes them on request, and does what follows each end.
//
// Kicks and dismissals take effect after everything that their caller had sent before. Once a
// connection has ended, for whatever reason, its close listeners run, its close keys are removed
// and its bookkeeping is undone (contract §4).
//
// Another node does all that where it has declared this one dead. While Redis does not answer
// nobody knows whether it has, so ends are held until Redis says so. A Closer is safe for
// concurrent use.
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

// End is the end of a connection, as its close listeners get it.
type End struct {
	FD     int64
	Auth   api.Identity
	Code   int // a close code; 1006 where there was no close frame
	Reason string
}

// Cluster is this node's bookkeeping in Redis (package cluster).
type Cluster interface {
	// Owner tells whether the connection still belongs to this node, as far as that is known
	// without asking Redis.
	Owner(fd int64) (mine, known bool)
	// Owns is Owner that waits until Redis answers. It fails when ctx ends.
	Owns(ctx context.Context, fd int64) (bool, error)
	// Unheard lists the connections that Redis has never heard of, so that no other node cleans up
	// after them.
	Unheard() map[int64]bool
	// Closed has everything removed that Redis knows of the connection. It does not wait.
	Closed(e cluster.Entry)
}

// Sessions changes the connections of this node (package session).
type Sessions interface {
	// Ended tells the rooms of a connection that it has ended. owned: no other node does.
	Ended(c *hub.Conn, rooms []string, owned bool)
	// Leave takes the connection out of the room, and tells whether it was in it.
	Leave(c *hub.Conn, room string) bool
}

// Link tells in which phase this worker is (package link).
type Link interface{ Phase() link.Phase }

// Config of a Closer.
type Config struct {
	Hub      *hub.Hub
	Nodes    *ask.Nodes
	Link     Link
	Sessions Sessions
	Cluster  Cluster
	// Notify runs OnClose of the listeners, which are mounted names. It recovers panics.
	Notify func(listeners []string, e End)
	// Departed tells PHP workers of a connection whose process died. note is session.Note's.
	Departed func(fd int64, note string)
	// Protect runs f, and logs its panic.
	Protect func(what string, f func())
	Log     *zap.Logger
}

// Closer ends connections. New makes one.
type Closer struct {
	cfg    Config
	Counts tally.Tally // connections that the server closed, by close code
	held   *heldEnds
}

// New makes a Closer, and registers the questions by which other nodes close connections here.
func New(cfg Config) *Closer {
	cl := &Closer{cfg: cfg, held: newHeldEnds(cfg.Cluster, cfg.Log)}
	cl.register()
	return cl
}

// Close waits until nothing is held any more, as long as ctx.
func (cl *Closer) Close(ctx context.Context) { cl.held.close(ctx) }

// Ended does what follows the end of a connection that was in those rooms (hub.Handler). A node
// that was declared dead leaves the listeners and the clean-up to the node that has declared so.
func (cl *Closer) Ended(c *hub.Conn, code int, reason string, rooms []string) {
	cl.count(c, code, reason)
	e := session.Traces(c, rooms)
	end := func(owned bool) {
		if owned {
			cl.cfg.Notify(e.Listeners, End{c.FD, c.Auth, code, reason})
		}
		cl.cfg.Sessions.Ended(c, rooms, owned) // the node that cleans up may not know all of the rooms
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
	for _, name := range o.Listeners {
		if note, is := session.NoteOf(name); is {
			cl.cfg.Departed(o.FD, note)
			break // an older one may stand beside it
		}
	}
	cl.cfg.Notify(o.Listeners, End{o.FD, id, wire.CloseAbnormal, "server ended"})
}

// Deposed closes the connections of a node that was declared dead: all with an fd below floor.
// Their clients are told to come back at once.
func (cl *Closer) Deposed(floor int64) {
	cl.cfg.Hub.Each(func(c *hub.Conn) bool {
		if c.FD < floor {
			hub.CloseAfter([]*hub.Conn{c}, wire.CloseRestart, "server was away")
		}
		return true
	})
}

// count counts the connections that the server has closed. Closes that a client or a slow line has
// caused are logged, once a minute for each reason.
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
	default: // a Kick: the reason is the application's text, which must not become a metric's label
		cl.Counts.Note(code, "application", time.Now())
	}
}
