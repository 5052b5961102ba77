package framework

import (
	"context"
	"slices"
	"strings"

	"go.uber.org/zap"

	"wsframe/framework/internal/hub"
)

// Routes is the route table, sorted by method.
func (a *App) Routes() []Route { return a.router.routes() }

// Stats walks all connections of this worker: for operators and monitoring.
func (a *App) Stats() Stats {
	s := a.hub.Stats()
	pending, _ := a.node.Pending()
	b := a.link.Stats()
	return Stats{
		Connections: s.Connections, Rooms: s.Rooms, UIDs: s.Users,
		MessagesIn: s.MessagesIn, MessagesOut: s.MessagesOut, BytesIn: s.BytesIn, BytesOut: s.BytesOut,
		Slow: s.Slow, Idle: s.Idle, Dropped: s.Dropped, StorePending: pending, BusRead: b.Read, BusReceived: b.Received, BusLost: b.Lost,
	}
}

// ActionStats are the figures of every action, sorted by method. What OnMessage answers stands
// under the name of its controller.
func (a *App) ActionStats() []ActionStats {
	var list []ActionStats
	for _, targets := range []map[string]target{a.router.actions, a.router.fallbacks} {
		for method, t := range targets {
			list = append(list, t.meter.stats(method))
		}
	}
	slices.SortFunc(list, func(a, b ActionStats) int { return strings.Compare(a.Method, b.Method) })
	return list
}

// ConnectionStats lists this worker's connections by fd, at most limit, without the first offset
// ones.
func (a *App) ConnectionStats(offset, limit int) []ConnectionStats {
	var fds []int64
	a.hub.Each(func(c *hub.Conn) bool { fds = append(fds, c.FD); return true })
	slices.Sort(fds)
	fds = fds[min(max(0, offset), len(fds)):]
	fds = fds[:min(max(0, limit), len(fds))]
	list := make([]ConnectionStats, 0, len(fds))
	for _, fd := range fds {
		c := a.hub.Get(fd)
		if c == nil {
			continue
		}
		in, out := c.Counts()
		waiting, _ := c.Pending()
		list = append(list, ConnectionStats{
			FD: fd, Auth: c.Auth, Remote: c.Remote, Since: c.Since, Idle: c.Idle(),
			MessagesIn: in, MessagesOut: out, OutboxBytes: waiting, Rooms: len(c.Rooms()),
		})
	}
	return list
}

// Owned counts the connections of this worker, without those that have moved to another worker and
// whose action still runs here.
func (a *App) Owned() int { return a.hub.CountUnmoved() }

// Refused counts the refused handshakes, by HTTP status and reason.
func (a *App) Refused() []Counted { return a.port.Refused() }

// ClosedByServer counts the connections that the server closed, by close code and reason.
func (a *App) ClosedByServer() []Counted { return a.closer.Counts.List() }

// Signs lists the nodes that live, or that are dead and not yet cleaned up after, by id. This
// node's sign is current; those of other living nodes are some seconds old (Age). The call asks
// Redis, and no other node: two round trips, none where the node is alone.
func (a *App) Signs(ctx context.Context) ([]NodeSign, error) { return a.directory.Signs(ctx) }

// Isolated reports that this node has not reached Redis for the time of a lease: it is not ready
// for clients. The call waits for nobody.
func (a *App) Isolated() bool { return a.node.Lease.Isolated() }

// Flush waits until Redis has the bookkeeping of what has happened so far.
func (a *App) Flush(ctx context.Context) error { return a.node.Flush(ctx) }

// Say sends the operator's text to every client (contract §5) and returns the number of clients.
func (a *App) Say(text string) int {
	n := a.hub.Len()
	if c, err := a.Counts(context.Background()); err == nil { // bounded by the time of a Redis call
		n = c.Connections
	}
	if err := a.SendToAll(OK("serverBroadcast", "收到服务广播内容", text)); err != nil {
		a.log.Error("say", zap.Error(err))
		return 0
	}
	return n
}
