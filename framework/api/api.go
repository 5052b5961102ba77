// Package api is the plain data that applications, the push port and tests share: what calls of the framework answer. Package
// framework has all of it by the same names. The doc tags are for the push port's OpenAPI document.
package api

import (
	"encoding/json"
	"time"

	"wsframe/framework/auth"
)

// Identity is what a token says.
type Identity = auth.Identity

// Connection is a live connection, on whichever node.
type Connection struct {
	FD   int64    `json:"fd"`
	Auth Identity `json:"auth"`
	UIDs []string `json:"uids,omitempty"`
	Node string   `json:"node"`
}

// Counts are totals over all nodes.
type Counts struct {
	Connections int `json:"connections"`
	UIDs        int `json:"uids"`  // a user of several nodes counts once; exact up to 4,096 users of each node, within about 1 % beyond
	Rooms       int `json:"rooms"` // likewise
	Nodes       int `json:"nodes"`
}

// NodeInfo is one node of the cluster, as it answers.
type NodeInfo struct {
	ID          string `json:"id"`
	PID         int    `json:"pid"` // of its worker
	Connections int    `json:"connections"`
	Rooms       int    `json:"rooms"`
	UIDs        int    `json:"uids"`
	Since       int64  `json:"since"` // UNIX seconds: when its worker started
	Self        bool   `json:"self,omitempty"`
	Missing     bool   `json:"missing,omitempty"` // nobody has declared it dead, but it has not answered
}

// NodeSign is a node's last sign of life: what operators see of it, also when it no longer answers.
type NodeSign struct {
	ID          string `json:"-"`
	Host        string `json:"host"`    // of the machine
	Address     string `json:"address"` // of the outside port; "" = not told
	Machine     string `json:"machine"` // address of the machine, on the way to Redis; "" = not known
	Version     string `json:"version"`
	PID         int    `json:"pid"` // of its worker
	Connections int    `json:"connections"`
	UIDs        int    `json:"uids"`
	Rooms       int    `json:"rooms"`
	Since       int64  `json:"since"` // UNIX seconds; 0 = not known

	Self   bool          `json:"-"`
	Living bool          `json:"-"` // it has a lease
	Age    time.Duration `json:"-"` // of this sign; < 0: not known
}

// HistoryItem is a kept push.
type HistoryItem struct {
	Offset int64           `json:"offset"`
	Time   int64           `json:"time" doc:"UNIX milliseconds"`
	Push   json.RawMessage `json:"push" doc:"as clients got it"` // with room, offset and epoch
}

// HistoryPage is a part of a room's history.
type HistoryPage struct {
	Room   string        `json:"room"`
	Epoch  string        `json:"epoch" doc:"another one means that the history was lost: offsets begin again"`
	Offset int64         `json:"offset" doc:"of the newest push"`
	First  int64         `json:"first" doc:"of the oldest that is kept; 0 = none"`
	Items  []HistoryItem `json:"items" doc:"the oldest first"`
}

// Moved tells what a transfer of connections to the next worker did.
type Moved struct {
	Connections int
	Pause       time.Duration // from the freeze until the new process serves
	Notes       []string      // what people should know of it
}

// Counted is how often something has happened since this worker started.
type Counted struct {
	Code   int    // HTTP status of a refused handshake, close code of a connection; 0 = of those that are not told apart
	Reason string // the server's own words
	N      int64
}
