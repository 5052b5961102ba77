// Package reload moves the connections of a worker to the next one, which serves them from then on.
// No client notices. Send is the old worker's side, Receive the new one's.
//
//	old worker: Send              socket pair               new worker: Receive
//	hub.Freeze
//	  states, descriptors   ───── batches ─────▶            hub.Import
//	  relay                 ───── frames, closes ────▶      queued
//	  state of the worker   ───── commit ──────▶            takes the claim, serves
//	hub.Release             ◀──── serving ─────
//	  actions that still run ──── frames, closes, questions ▶
//	                        ◀──── replies, ends ─
//
// The connections of a round belong to the worker that takes its claim (Pipe). The new worker takes
// it when it can serve, or when it finds the old one dead; the old one takes it when something has
// failed. So neither a lost message nor a stopped process makes both serve, or neither.
//
// Package framework calls both, each once for a reload. They need the parts that Config names.
// Apart from a leaf lock in the relay and one in the receiver, all locks belong to those parts.
package reload

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/gateway"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/question"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/stream"
)

// Config has the parts of a worker that a transfer works on. All of it is safe for concurrent use.
type Config struct {
	Hub      *hub.Hub
	Sessions Sessions
	Link     Link
	Nodes    Nodes
	Node     Node
	Port     Port
	Log      *zap.Logger

	Timeout     time.Duration // of a wait for the bus
	StreamDrain time.Duration // for which producers of streams may go on in the old process

	Questions Questions // to clients
	Streams   Streams   // to clients

	Start   func()        // starts the application's own work; a second call has no effect
	GiveUp  func()        // notifies members of messages that could not be read in time
	End     func()        // ends this worker's background work
	Gateway Gateway       // of PHP back ends
	Running func() string // names the actions that run, for people
}

// Sessions has the session of each connection (package session).
type Sessions interface {
	// Export calls take with a session that does not change meanwhile. Any change of it waits for
	// that, and then for the outcome of the round.
	Export(c *hub.Conn, take func(state json.RawMessage))
	Import(c *hub.Conn, state json.RawMessage) (*session.Session, error)
	// Begin is called when an imported connection is served here.
	Begin(c *hub.Conn)
}

// Streams are long answers to clients (package stream).
type Streams interface {
	// Export stops the streams, and returns their state and the pipes of their producers.
	Export() (list []stream.Moved, pipes []*os.File, err error)
	// Thaw undoes an Export.
	Thaw()
	// Release is called in the old process when the next one has the streams.
	Release()
	// Import is called in the new process once the clients are served.
	Import(list []stream.Moved, pipes []*os.File)
	// Producing returns the number of producers that run in this process.
	Producing() int
}

// Questions are those that actions have put to clients (package question).
type Questions interface {
	// Answer passes a client's answer to who waits for it. It does not wait itself.
	Answer(a question.Answer)
	// Forward has f called for answers to questions that are not this worker's, until stop is
	// called.
	Forward(f func(question.Answer)) (stop func())
}

// Gateway is what serves PHP back ends: clients of their own port, whose messages may wait, and the
// connections of PHP programs.
type Gateway interface {
	// Freeze stops executing what PHP programs send, and lets messages of clients through that
	// wait, so that their actions end. Thaw undoes it.
	Freeze()
	Thaw()
	// Imported is called for each imported connection before it is served, with its session.
	Imported(c *hub.Conn) error
	// Export returns the connections of PHP programs, and the rest of the state, once those of
	// clients are exported.
	Export() (peers []gateway.MovedPeer, state []byte)
	// Release is called in the old process when all of that belongs to the next one.
	Release()
	// Import is called in the new process once the clients are served.
	Import(peers []gateway.MovedPeer, state []byte)
}

// Link is this worker's connection to the other nodes, and its phase (package link).
type Link interface {
	HandOver() bool
	KeepServing()
	HandedOver()

	Suspend(ctx context.Context) (state []byte, err error)
	Resume()
	Detach()
	Adopt(ctx context.Context, state []byte) (takeOver func(limit time.Duration), err error)

	Cursor() (token string, c bus.Cursor)
	After(token string, c bus.Cursor, limit time.Duration, f func())
	AfterOwn(limit time.Duration, f func())
}

// Nodes asks and answers questions (package ask). After HandOver those of the old worker go to the
// new one.
type Nodes interface {
	HandOver(s ask.Successor)
	Inquire(i *ask.Inquiry, background *sync.WaitGroup, send func(ask.Findings))
}

// Node writes to Redis what this node has (package cluster).
type Node interface {
	// Flush waits until Redis knows everything that has happened so far.
	Flush(ctx context.Context) error
	// Handed is called when the connections belong to the next worker.
	Handed()
	// Adopted is called for an imported connection of which Redis knows everything.
	Adopted(fd int64)
	// Opened is called for an imported connection of which Redis may know nothing.
	Opened(e cluster.Entry)
}

// Port accepts clients (package accept).
type Port interface {
	Pause()
	Resume()
	// Handshakes returns the number of those that have begun and not ended.
	Handshakes() int
	// Reserve counts an imported connection for its address, Release one that is discarded.
	Reserve(remote string)
	Release(remote string)
}
