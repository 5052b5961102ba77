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
