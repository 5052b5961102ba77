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

// The messages of a transfer. Each is a kind, a length and a body.
//
//	old                                        new
//	H  version, number, claims' descriptor →   makes room
//	                                       ←   T
//	B  States, their descriptors           →   adopts, reads nothing yet
//	R  frames sent to them meanwhile       →   queues them
//	C  what belongs to the whole worker    →   claims them, S, serves
//	R, D  what their last actions do       →
//	                                       ←   A, G  answers to what they ask, and whose client has gone
//	E                                      →
//
// The version is hub.TransferVersion: a process reads no other.
const (
	msgHello   = 'H'
	msgBatch   = 'B'
	msgTaken   = 'T'
	msgRelay   = 'R' // JSON: []relayed
	msgAnswer  = 'A' // JSON: ask.Findings
	msgGone    = 'G' // JSON: the connection of an action that still runs in the old process has ended
	msgCommit  = 'C' // JSON: commit
	msgServing = 'S'
	msgDone    = 'D' // JSON: actions of these connections have ended
	msgAbort   = 'X' // the old process goes on with what is not claimed
	msgEnd     = 'E'
)

// roundTime bounds one step of the other process while clients wait.
const roundTime = 5 * time.Second

var (
	errTakenBack   = errors.New("the old process took its connections back")
	errNotTransfer = errors.New("not a transfer")
)

// Pipe is the socket between the two processes. Send and Receive may be called at the same time.
type Pipe interface {
	// Send passes a message on, and the descriptors of conns.
	Send(kind byte, body []byte, conns []*hub.Conn) error
	// Receive waits for the next message; limit 0 is until the pipe's context ends, or HangUp.
	Receive(limit time.Duration) (kind byte, body []byte, err error)
	HangUp() // nothing is received any more
	// Socket is the next descriptor that came with a batch.
	Socket() (hub.Stream, error)

	Hello(body []byte) error // old: the first message, and where the claims lie
	Prepare(n int)           // new: makes room for so many descriptors; an error would show later
	Offer() error            // old: puts the claim of a round there
	Claim() bool             // takes it; of both processes one gets it
}

// commit is the body of msgCommit.
type commit struct {
	Stored bool            // the store knows everything of these connections
	App    json.RawMessage // workerState, in the first round
}

// workerState travels beside the connections.
type workerState struct {
	Bus json.RawMessage `json:",omitempty"` // the place on the bus
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
