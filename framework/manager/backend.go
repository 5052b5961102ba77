// Package manager is the admin port (contract §5): a WebSocket server that the master runs, and the
// client that the commands of package console use. The server needs a Backend, which the master is;
// manager imports neither. The package's Example shows both sides.
//
// A Server is safe for concurrent use. A Client makes one call at a time.
package manager

import (
	"context"
	"time"
)

// Backend carries out the commands of the admin port. The master implements it.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	// Reload replaces the worker. With check it only examines whether a new one would serve.
	Reload(ctx context.Context, check bool) (ReloadReport, error)
	// Stop begins the server's end and returns at once. With graceful, clients have the whole grace
	// time.
	Stop(ctx context.Context, graceful bool) error
	Say(ctx context.Context, text string) (clients int, err error)
	Connections(ctx context.Context, offset, limit int) ([]ConnInfo, error)
	Nodes(ctx context.Context) ([]NodeInfo, error)
}

// Status is the state of a server. All but Nodes concerns this node alone.
type Status struct {
	// Version is that of the worker's program, which a reload replaces.
	Version        string `json:"version"`
	MasterVersion  string `json:"master_version"` // of the master's program
	Connections    int    `json:"connections"`
	UIDs           int    `json:"uids"` // users with connections
	Rooms          int    `json:"rooms"`
	MasterPID      int    `json:"master_pid"`
	WorkerPID      int    `json:"worker_pid"`
	WorkerRestarts int    `json:"worker_restarts"`
	MemoryBytes    int64  `json:"memory_bytes"` // resident, of master and worker
	UptimeSeconds  int64  `json:"uptime_seconds"`
	Traffic
	Goroutines int    `json:"goroutines"`
	Store      string `json:"store"` // embedded or redis
	// StorePending is the number of operations of bookkeeping that the store does not have yet.
	StorePending int `json:"store_pending"`

	// WorkerState is WorkerServes, WorkerHangs or WorkerRestarts.
	WorkerState string `json:"worker_state"`
	// WorkerSilentSeconds is the time since the heartbeat of a worker that hangs; else 0.
	WorkerSilentSeconds int64  `json:"worker_silent_seconds"`
	RuntimeDir          string `json:"runtime_dir"` // absolute path
	// KeyFile is the path of the key of tokens; "" = the key stands in the configuration.
	KeyFile string `json:"key_file"`

	Nodes      []NodeInfo `json:"nodes"`
	NodesError string     `json:"nodes_error,omitempty"` // why Nodes is not complete

	Gateway *Gateway `json:"gateway,omitempty"` // nil = it is not enabled
}

// Gateway describes the gateway for PHP back ends of GatewayWorker.
type Gateway struct {
	Address string          `json:"address"` // that PHP connects to
	Peers   int             `json:"peers"`   // connections of PHP programs, with those of workers
	Workers []GatewayWorker `json:"workers"` // in the order of connecting
}

// GatewayWorker is a connected BusinessWorker.
type GatewayWorker struct {
	Key          string `json:"key"` // its address, a colon, its worker_key
	Clients      int    `json:"clients"`
	WaitingBytes int    `json:"waiting_bytes"` // that it has not read yet
}

// Traffic is what a server's connections have carried, and why they were closed, since the server
// was started.
type Traffic struct {
	MessagesIn  int64 `json:"messages_in"`
	MessagesOut int64 `json:"messages_out"`
	BytesIn     int64 `json:"bytes_in"`
	BytesOut    int64 `json:"bytes_out"`
	ClosedSlow  int64 `json:"closed_slow"`
	ClosedIdle  int64 `json:"closed_idle"`
	// Dropped counts pushes of the classes drop-oldest and latest that slow connections did not
	// get.
	Dropped int64 `json:"dropped"`
}

// The states of the worker. One that hangs does not reply to heartbeats; the figures that only it
// knows are 0 then.
const (
	WorkerServes   = "serves"
	WorkerHangs    = "hangs"
	WorkerRestarts = "is being restarted"
)

// The states of a node.
const (
	NodeAlive = "alive"
	// NodeDead means that the lease has expired. The node is listed until another one has cleaned
	// up after it.
	NodeDead = "dead"
)

// NodeInfo is one node of the cluster, as of its last sign of life.
type NodeInfo struct {
	ID    string `json:"id"`
	Self  bool   `json:"self"` // the node that lists the others
	State string `json:"state"`
	Host  string `json:"host"` // name of the machine
	// Address is that of the outside port; as others reach it, where that is known.
	Address     string `json:"address"`
	Version     string `json:"version"`
	WorkerPID   int    `json:"worker_pid"`
	Connections int    `json:"connections"`
	UIDs        int    `json:"uids"`
	Rooms       int    `json:"rooms"`
	// Since is the time of the server's start in UNIX seconds; 0 = unknown.
	Since            int64 `json:"since"`
	RefreshedSeconds int64 `json:"refreshed_seconds"` // age of the sign of life; -1 = unknown
}

// ConnInfo is one live connection.
type ConnInfo struct {
	FD          int64  `json:"fd"`
	ID          string `json:"id"`
	Type        string `json:"type"`
	Code        string `json:"code"`
	Remote      string `json:"remote"`
	Since       int64  `json:"since"` // UNIX seconds
	IdleSeconds int64  `json:"idle_seconds"`
	MessagesIn  int64  `json:"messages_in"`
	MessagesOut int64  `json:"messages_out"`
	OutboxBytes int    `json:"outbox_bytes"`
	Rooms       int    `json:"rooms"`
}

// ReloadReport is the result of a reload.
type ReloadReport struct {
	Moved int `json:"moved"` // connections that stayed open
	// Drained counts connections closed with 1012, whose clients reconnect at once.
	Drained int           `json:"drained"`
	Pause   time.Duration `json:"pause"` // during which no messages were handled
	OldPID  int           `json:"old_pid"`
	NewPID  int           `json:"new_pid"`
	Added   []string      `json:"added,omitempty"`   // routes
	Removed []string      `json:"removed,omitempty"` // routes
	Changed []string      `json:"changed,omitempty"` // routes of another controller
	// Breaks names what clients of the old worker rely on and the new one does not have: fields and
	// events.
	Breaks []string `json:"breaks,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}
