// Package reload moves the connections of a worker to the next one, which serves them from then on,
// without their clients noticing. Send is the old worker's side, Receive the new one's.
//
//	old worker: Send              socket pair               new worker: Receive
//	hub.Freeze
//	  states, descriptors   ───── batches ─────▶            hub.Import
//	  relay                 ───── frames, closes ────▶      queued behind those
//	  journal, place on the bus ─ commit ──────▶            takes the claim, serves
//	hub.Release             ◀──── serving ─────
//	  actions that still run ──── frames, closes, questions ▶
//	                        ◀──── answers, ends ─
//
// The connections of a round belong to whoever takes its claim (Pipe). The new worker takes it when it
// can serve, or when it finds the old one dead; the old one takes it when something has failed. So
// neither a lost message nor a process that stands still makes both serve, or neither.
//
// Package framework calls both, each once for a reload. They need the parts that Config names, and no
// Redis of their own. All locks are of these parts, but for a leaf of the relay and one of the receiver.
package reload

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
)

// Config is what a worker's side of a transfer works on: the worker's parts, and what they cannot do.
// All of it is safe for concurrent use.
type Config struct {
	Hub      *hub.Hub
	Sessions Sessions
	Link     Link
	Nodes    Nodes
	Node     Node
	Port     Port
	Log      *zap.Logger

	Timeout time.Duration // of what waits for the bus

	Start   func()        // the application's part of a worker that serves; called again it does nothing
	GiveUp  func()        // members are told of messages that could not be read yet, before the commit
	End     func()        // this worker's background work ends
	Running func() string // names the actions that run, for people
}

// Sessions keeps what belongs to each connection beside its socket (package session).
type Sessions interface {
	// Export has take called with a session that does not change meanwhile. What else would change it
	// waits for that, and then for the outcome of the round.
	Export(c *hub.Conn, take func(state json.RawMessage))
	Import(c *hub.Conn, state json.RawMessage) (*session.Session, error)
	Begin(c *hub.Conn) // an imported connection is served here now
}

// Link is this worker's way to the other nodes, and its phase (package link).
type Link interface {
	HandOver() bool
	KeepServing()
	HandedOver()

	Suspend(ctx context.Context) (state []byte, err error)
	Resume()
	Detach()
	Adopt(ctx context.Context, state []byte) (takeOver func(limit time.Duration), err error)

	Cursor() (token string, m bus.Cursor)
	After(token string, m bus.Cursor, limit time.Duration, f func())
	AfterOwn(limit time.Duration, f func())
}

// Nodes answers questions: the old worker's go to the new one (package ask).
type Nodes interface {
	HandOver(s ask.Successor)
	Inquire(i *ask.Inquiry, background *sync.WaitGroup, send func(ask.Findings))
}

// Node is what Redis knows of this node (package cluster).
type Node interface {
	Flush(ctx context.Context) error // until Redis knows what has happened so far
	Handed()                         // the connections are the next worker's
	Adopted(fd int64)                // a connection is here now, and Redis knows all of it
	Opened(e cluster.Entry)          // a connection is here now, and Redis may not know it
}

// Port is where clients come in (package accept).
type Port interface {
	Pause()
	Resume()
	Handshakes() int       // that are under way
	Reserve(remote string) // a connection counts as that address's
	Release(remote string)
}
