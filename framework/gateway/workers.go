package gateway

import "net/netip"

// Workers takes the connections of BusinessWorkers. Inner calls it; no method blocks.
type Workers interface {
	// Connect is called once for each connection that has introduced itself as a worker. key is its
	// worker_key, which is unique among the workers of one address.
	Connect(key string, remote netip.Addr, c WorkerConn) WorkerEvents
}

// WorkerConn is the connection of a BusinessWorker. All methods are safe for concurrent use and
// never block.
type WorkerConn interface {
	// Send sends a copy of whole frames, whatever waits already, and returns the number of bytes
	// that have not been written. Bytes for a connection that has ended are dropped.
	Send(frames []byte) (waiting int)
	// OnWritten sets a function that is called without locks after each write, with the number of
	// bytes that wait then.
	OnWritten(f func(waiting int))
	// Close closes the connection at once. WorkerEvents.Gone follows.
	Close()
}

// WorkerEvents takes what happens to one BusinessWorker.
type WorkerEvents interface {
	// Gone is called once, when the connection has ended.
	Gone()
}
