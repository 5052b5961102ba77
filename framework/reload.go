package framework

import (
	"fmt"
	"slices"
	"strings"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/reload"
	"wsframe/framework/internal/session"
)

// reloadConfig is what a transfer of connections needs of the other parts.
func (a *App) reloadConfig() reload.Config {
	return reload.Config{
		Hub: a.hub, Sessions: a.sessions, Link: a.link, Nodes: a.nodes, Node: a.node.Bookkeeping, Port: a.port, Timeout: a.timeout, Log: a.log,
		Start: a.lifecycle.startLate, GiveUp: a.history.GiveUp, End: a.lifecycle.end, Questions: a.questions, Streams: a.streams, StreamDrain: a.drain, Running: func() string { return running(a.hub) },
		Gateway: a.gateway.move(a.clients, func(c *hub.Conn) { a.socketio.pages.Imported(a.hub, c) }),
	}
}

// maxNamed bounds a list in a message for operators.
const maxNamed = 10

// running names the actions that still run, for operators.
func running(h *hub.Hub) string {
	var list []string
	h.Each(func(c *hub.Conn) bool {
		if method := session.Of(c).Acting.Load(); method != nil {
			list = append(list, fmt.Sprintf("%.100s of connection %d", *method, c.FD))
		}
		return len(list) <= maxNamed
	})
	slices.Sort(list)
	if len(list) > maxNamed {
		list[maxNamed] = "…"
	}
	return strings.Join(list, ", ")
}
