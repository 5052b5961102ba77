// Package eventloop waits for the bytes of many sockets in one goroutine, so that a quiet socket
// needs none.
//
// The hub calls it, with its connections. The package knows only descriptors and what belongs to
// them. loop_linux.go is all of it; other systems have no loop, and New returns
// errors.ErrUnsupported there.
package eventloop

import "time"

// WatchTime is how often the watchdog looks. An action holds its loop for at most twice this time.
const WatchTime = time.Millisecond

// Key names a socket within its loop.
type Key struct{ slot, generation int32 }

// Calls are what a loop calls, for sockets to each of which a *S belongs.
type Calls[S any] struct {
	// Ready is called for each socket that has bytes or, with ended, whose peer has closed or
	// broken the connection. Events are edge-triggered: after a call there is no other before more
	// bytes come, so Ready must see to it that the socket is read until it is empty.
	//
	// Ready may end its goroutine (runtime.Goexit); the loop goes on in another. It must recover
	// its panics.
	Ready func(s *S, r *Runner, ended bool)
	// Overran is called, in another goroutine, after a turn of the socket has lost the loop. The
	// turn may still run.
	Overran func(s *S)
	// Fault is called with errors of the operating system, after which the loop tries again.
	Fault func(error)
}
