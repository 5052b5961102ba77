package framework

import (
	"wsframe/framework/api"
	"wsframe/framework/internal/reload"
)

// Moved tells what a transfer did.
type Moved = api.Moved

// reloadConfig is what a transfer of connections needs of the rest.
func (a *App) reloadConfig() reload.Config {
	return reload.Config{
		Hub: a.hub, Sessions: a.sessions, Link: a.link, Nodes: a.nodes, Node: a.node, Port: a.accept,
		Timeout: a.askTime, Log: a.log,
		Start: a.startLate, GiveUp: a.history.GiveUp, End: a.endLife, Running: a.running,
	}
}
