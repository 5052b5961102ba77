package framework

import (
	"wsframe/framework/api"
	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/room"
)

var (
	// ErrNoConnection is returned where no node has the connection.
	ErrNoConnection = ask.ErrNoConnection
	// ErrPartial is returned beside what is known when not all nodes have answered in time, or Redis has not, by which they are asked.
	ErrPartial = ask.ErrPartial
	// ErrBusy is returned when too much waits for Redis.
	ErrBusy = bus.ErrFull
)

// errorCodes are the errors that askers tell apart. The codes travel between nodes.
var errorCodes = map[string]error{
	"name": ErrName, "reserved": ErrReserved, "uid": ErrUID, "tooManyKeys": ErrTooManyKeys, "sessionSize": ErrSessionSize,
	"tooManyRooms": room.ErrTooManyRooms, "tooManyUsers": hub.ErrTooManyUsers, "closed": hub.ErrClosed, "slow": hub.ErrSlow, "partial": ErrPartial,
}

func (a *App) newNodes() *ask.Nodes {
	return ask.New(ask.Config{
		Node: a.nodeID, Alone: a.alone, Timeout: a.askTime, Link: a.link, Members: func() ask.Members { return a.node },
		Here: a.stays, Frozen: func() bool { return a.hub.Frozen() },
		Errors: errorCodes, Protect: a.protect, Log: a.log,
	})
}

// stays tells whether a connection is here and has not moved.
func (a *App) stays(fd int64) bool {
	c := a.hub.Get(fd)
	if c == nil {
		return false
	}
	_, moved := c.Moving()
	return !moved
}

// Connection is a live connection, on whichever node.
type Connection = api.Connection

// NodeInfo is one node of the cluster, as it answers.
type NodeInfo = api.NodeInfo
