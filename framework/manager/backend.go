// Package manager is the admin port (contract §5): a WebSocket server that the master runs, and the client that the console uses.
//
//	s := manager.NewServer(manager.Config{Backend: master, Token: token, Log: log})
//	go s.Serve(listener)
//	…
//	c, err := manager.Dial(ctx, "127.0.0.1:20001", token)
//	status, err := c.Status(ctx)
//
// Servers and clients are safe for concurrent use.
package manager

import (
	"context"
	"time"
)

// Backend does what the admin port is asked for. The master implements it.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Reload(ctx context.Context, check bool) (ReloadReport, error) // check: only examine the new worker
	Stop(ctx context.Context, graceful bool) error                // returns at once; graceful: with the whole grace time
	Say(ctx context.Context, text string) (clients int, err error)
	Connections(ctx context.Context, offset, limit int) ([]ConnInfo, error)
	Nodes(ctx context.Context) ([]NodeInfo, error)
}

// Status is the state of a server. All but Nodes concerns this node alone.
type Status struct {
	Version        string `json:"version"`        // of the worker's program, which a reload replaces
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
	Goroutines   int    `json:"goroutines"`
	Store        string `json:"store"`         // embedded or redis
	StorePending int    `json:"store_pending"` // operations of bookkeeping that the store does not have yet

	WorkerState         string `json:"worker_state"`          // WorkerServes, WorkerHangs or WorkerRestarts
	WorkerSilentSeconds int64  `json:"worker_silent_seconds"` // since its last heartbeat, where it hangs; else 0
	RuntimeDir          string `json:"runtime_dir"`           // absolute path
	KeyFile             string `json:"key_file"`              // path of the key of tokens; "" = the key stands in the configuration

	Nodes      []NodeInfo `json:"nodes"`
	NodesError string     `json:"nodes_error,omitempty"` // why Nodes is not complete
}

// Traffic is what a server's connections have carried, and why they were closed, since the server was started.
type Traffic struct {
	MessagesIn  int64 `json:"messages_in"`
	MessagesOut int64 `json:"messages_out"`
	BytesIn     int64 `json:"bytes_in"`
	BytesOut    int64 `json:"bytes_out"`
	ClosedSlow  int64 `json:"closed_slow"`
	ClosedIdle  int64 `json:"closed_idle"`
	Dropped     int64 `json:"dropped"` // pushes of the classes drop-oldest and latest that slow connections did not get
}

// The states of the worker. One that hangs does not answer its heartbeat: what else only it knows is missing then.
const (
	WorkerServes   = "serves"
	WorkerHangs    = "hangs"
	WorkerRestarts = "is being restarted"
)

// The states of a node.
const (
	NodeAlive = "alive"
	NodeDead  = "dead" // it has shown no sign of life for longer than its lease; it disappears when it is cleaned up after
)

// NodeInfo is one node of the cluster, by its last sign of life.
type NodeInfo struct {
	ID               string `json:"id"`
	Self             bool   `json:"self"` // the one that was asked
	State            string `json:"state"`
	Host             string `json:"host"`    // of the machine
	Address          string `json:"address"` // of the outside port, as others reach it where that is known
	Version          string `json:"version"`
	WorkerPID        int    `json:"worker_pid"`
	Connections      int    `json:"connections"`
	UIDs             int    `json:"uids"`
	Rooms            int    `json:"rooms"`
	Since            int64  `json:"since"`             // UNIX seconds: when it was started; 0: not known
	RefreshedSeconds int64  `json:"refreshed_seconds"` // age of the sign; -1: not known
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

// ReloadReport is what a reload did.
type ReloadReport struct {
	Moved   int           `json:"moved"`
	Drained int           `json:"drained"` // closed with 1012: come back at once
	Pause   time.Duration `json:"pause"`
	OldPID  int           `json:"old_pid"`
	NewPID  int           `json:"new_pid"`
	Added   []string      `json:"added,omitempty"`   // routes
	Removed []string      `json:"removed,omitempty"` // routes
	Changed []string      `json:"changed,omitempty"` // routes of another controller
	Notes   []string      `json:"notes,omitempty"`
}
