package bus

import "errors"

// Errors of Send.
var (
	ErrFull     = errors.New("bus: too much waits for redis")
	ErrTooLarge = errors.New("bus: a message is larger than 4 MiB")
	ErrStopped  = errors.New("bus: stopped")
)

// ErrSubstreams is returned by Start where other nodes divide their streams otherwise.
var ErrSubstreams = errors.New("bus: the other nodes have another number of sub-streams (cluster.substreams)")

// Errors of Put.
var (
	// ErrNotTaken means that Redis does not accept the message; it will not be delivered.
	ErrNotTaken = errors.New("bus: redis takes no messages")

	// ErrUnknown means that Redis has not replied; the message may still be delivered, or kept.
	ErrUnknown = errors.New("bus: redis has not said whether it took a message")

	// ErrQueued means that other nodes get the message when Redis accepts it again. On this node
	// the bus does not deliver it: the caller does.
	ErrQueued = errors.New("bus: the message waits for redis, for other nodes")
)
