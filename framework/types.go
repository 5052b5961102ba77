package framework

import (
	"wsframe/framework/api"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/presence"
)

// Plain data that applications, the push port and the console share.
type (
	// Identity is who a connection belongs to, as its token said.
	Identity = api.Identity
	// Connection is a live connection, on whichever node.
	Connection = api.Connection
	// Counts are totals over all nodes.
	Counts = api.Counts
	// Counted is how often something has happened since this worker started.
	Counted = api.Counted
	// HistoryItem is a kept push.
	HistoryItem = api.HistoryItem
	// HistoryPage is a part of a room's history.
	HistoryPage = api.HistoryPage
	// Moved is the outcome of a transfer of connections to another worker.
	Moved = api.Moved
	// NodeInfo is one node of the cluster, as it answers.
	NodeInfo = api.NodeInfo
	// NodeSign is a node's last sign of life, which operators can read also when it no longer
	// answers.
	NodeSign = api.NodeSign
	// Stats are the totals of one worker.
	Stats = api.Stats
	// ConnectionStats are the figures of one connection of a worker.
	ConnectionStats = api.ConnectionStats
)

// Events of announced rooms; param is {"room","id","nickname"}.
const (
	EventJoined = presence.EventJoined
	EventLeft   = presence.EventLeft
)

// Reserve keeps names that begin with prefix from being rooms or close keys, in the whole process.
// A module calls it, in an init function or where it makes its controllers, for its own Redis keys:
// otherwise clients that may name rooms could reach those keys. Prefixes are compared byte by byte.
// The error is ErrName where prefix cannot begin a name. Safe for concurrent use.
func Reserve(prefix string) error { return names.Reserve(prefix) }
