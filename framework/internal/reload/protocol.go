package reload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"wsframe/framework/internal/hub"
)

// The messages of a transfer consist of a kind, a length and a body.
//
//	old                                        new
//	H  version, number, claims' descriptor →   makes room
//	                                       ←   T
//	B  States, their descriptors           →   imports, reads nothing yet
//	P  connections of PHP, descriptors     →   keeps them
//	M  streams, their pipes                →   keeps them
//	R  frames sent to them meanwhile       →   queues them
//	C  the state of the whole worker       →   claims them, S, serves
//	R, D  frames of the last actions, ends →
//	                                       ←   A, G  replies to their questions, ends of clients
//	                                       ←   Q  answers of clients to them
//	E                                      →
//
// The version is hub.TransferVersion: a process reads no other.
const (
	msgHello    = 'H'
	msgBatch    = 'B'
	msgPeers    = 'P' // of package packed: the gateway's state, then one for each descriptor
	msgStreams  = 'M' // JSON: stream.Moved; the pipes' descriptors with the first
	msgReady    = 'T'
	msgRelay    = 'R' // JSON: []relayed
	msgFindings = 'A' // JSON: ask.Findings
	msgAnswer   = 'Q' // JSON: question.Answer, of a client to the old process
	msgGone     = 'G' // JSON: the fd of a connection that has ended during its action
	msgCommit   = 'C' // JSON: commit
	msgServing  = 'S'
	msgDone     = 'D' // JSON: the fds of connections whose action has ended
	msgAbort    = 'X' // the old process keeps what is not claimed
	msgEnd      = 'E'
)

// roundTime bounds one step of the other process while clients wait.
const roundTime = 5 * time.Second

var (
	errTakenBack   = errors.New("the old process took its connections back")
	errNotTransfer = errors.New("not a transfer")
)

// Pipe is the socket between the two processes. Send and Receive may be called at the same time.
type Pipe interface {
	// Send sends a message and the descriptors of conns.
	Send(kind byte, body []byte, conns []*hub.Conn) error
	// SendFiles sends a message and descriptors, which stay the caller's.
	SendFiles(kind byte, body []byte, files []*os.File) error
	// Receive waits for the next message. Without a limit it waits until the pipe's context ends,
	// or HangUp is called.
	Receive(limit time.Duration) (kind byte, body []byte, err error)
	// HangUp ends Receive.
	HangUp()
	// Socket returns the next descriptor that came with a batch.
	Socket() (hub.Stream, error)
	// File is Socket for a descriptor that came with msgPeers.
	File() (*os.File, error)

	// Hello sends the first message, and the pipe of the claims. The old process calls it.
	Hello(body []byte) error
	// Prepare makes room for n descriptors. The new process calls it. An error would show later.
	Prepare(n int)
	// Offer makes the claim of a round available. The old process calls it.
	Offer() error
	// Claim acquires the claim of a round. Only one of the two processes gets it.
	Claim() bool
}

// commit is the body of msgCommit.
type commit struct {
	Stored bool            // Redis knows everything of these connections
	App    json.RawMessage // workerState, in the first round
}

// workerState travels beside the connections.
type workerState struct {
	Bus json.RawMessage `json:",omitempty"` // see Link.Suspend
}

func sendJSON(w Pipe, kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Send(kind, body, nil)
}

func expect(w Pipe, want byte) error {
	kind, _, err := w.Receive(roundTime)
	if err != nil {
		return fmt.Errorf("wait for the new process: %w", err)
	}
	if kind != want {
		return unexpected(kind, want)
	}
	return nil
}

func unexpected(kind, want byte) error {
	return fmt.Errorf("the new process answered %q, wanted %q", kind, want)
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
