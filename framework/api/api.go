// Package api has the plain data that applications, the push port and tests share: the results of
// the framework's calls. It needs package auth alone.
//
// Package framework has the same types by the same names. The doc tags are texts of the push port's
// OpenAPI document.
package api

import (
	"encoding/json"
	"time"

	"wsframe/framework/auth"
)

// Identity is the user of a token.
type Identity = auth.Identity

// Connection is an open connection of any node.
type Connection struct {
	FD   int64    `json:"fd"`
	Auth Identity `json:"auth"`
	UIDs []string `json:"uids,omitempty"`
	Node string   `json:"node"`
}

// Counts are totals over all nodes.
type Counts struct {
	Connections int `json:"connections"`
	// UIDs counts a user of several nodes once. The number is exact up to 4,096 users of each node,
	// and about 1 % off beyond.
	UIDs int `json:"uids"`
	// Rooms counts a room of several nodes once, as exactly as UIDs.
	Rooms int `json:"rooms"`
	Nodes int `json:"nodes"`
}

// NodeInfo is one node of the cluster, by its own reply.
type NodeInfo struct {
	ID          string `json:"id"`
	PID         int    `json:"pid"` // of its worker
	Connections int    `json:"connections"`
	Rooms       int    `json:"rooms"`
	UIDs        int    `json:"uids"`
	Since       int64  `json:"since"` // UNIX seconds of its worker's start
	Self        bool   `json:"self,omitempty"`
	// Missing means that the node has not replied, and is not declared dead either.
	Missing bool `json:"missing,omitempty"`
}

// NodeSign is a node's last sign of life, which operators see also of a node that no longer
// replies.
type NodeSign struct {
	ID          string `json:"-"`
	Host        string `json:"host"`    // of the machine
	Address     string `json:"address"` // of the outside port; "" = unknown
	Machine     string `json:"machine"` // address by which the machine reaches Redis; "" = unknown
	Version     string `json:"version"`
	PID         int    `json:"pid"` // of its worker
	Connections int    `json:"connections"`
	UIDs        int    `json:"uids"`
	Rooms       int    `json:"rooms"`
	Since       int64  `json:"since"`             // UNIX seconds of the server's start; 0 = unknown
	Gateway     string `json:"gateway,omitempty"` // inner address for PHP back ends; "" = none

	Self   bool          `json:"-"`
	Living bool          `json:"-"` // has a lease
	Age    time.Duration `json:"-"` // of this sign; negative = unknown
}

// HistoryItem is a push that a room's history keeps.
type HistoryItem struct {
	Offset int64           `json:"offset"`
	Time   int64           `json:"time" doc:"UNIX milliseconds"`
	Push   json.RawMessage `json:"push" doc:"as clients got it"` // has room, offset and epoch, too
}

// HistoryPage is a page of a room's history.
type HistoryPage struct {
	Room   string        `json:"room"`
	Epoch  string        `json:"epoch" doc:"a different epoch means that the history was lost: offsets begin again"`
	Offset int64         `json:"offset" doc:"of the newest push"`
	First  int64         `json:"first" doc:"of the oldest that is kept; 0 = none"`
	Items  []HistoryItem `json:"items" doc:"the oldest first"`
}

// Moved is the result of a transfer of connections to the next worker.
type Moved struct {
	Connections int
	Pause       time.Duration // from the freeze of the connections until the next worker serves
	Notes       []string      // for people

	Streams     int           // whose producers go on in the old worker
	StreamDrain time.Duration // for which they may
}

// Counted is the number of events of one kind since this worker started.
type Counted struct {
	// Code is the HTTP status of a refused handshake or the close code of a connection; 0 =
	// several, which are counted together.
	Code   int
	Reason string // text of the server, not of clients
	N      int64
}
