package api

import "time"

// Stats are the totals of one worker since it started, and what it holds now.
type Stats struct {
	Connections int // open
	Rooms       int // with a member
	UIDs        int // with a connection

	MessagesIn, MessagesOut int64
	BytesIn, BytesOut       int64
	Slow                    int64 // connections closed with 4008
	Idle                    int64 // connections closed with 4000
	// Dropped counts frames of the classes DropOldest and Latest that slow connections did not get.
	Dropped int64

	StorePending int // bookkeeping operations that wait for Redis

	BusRead     int64 // entries of the streams between nodes that this worker has read
	BusReceived int64 // messages between nodes that it has received
	BusLost     int64 // messages that were gone before they were read, or that Redis has refused
}

// ConnectionStats are the figures of one connection of this worker.
type ConnectionStats struct {
	FD     int64
	Auth   Identity
	Remote string    // the client's address
	Since  time.Time // of the handshake
	Idle   time.Duration

	MessagesIn, MessagesOut int64
	OutboxBytes             int // that wait for the client to read
	Rooms                   int
}
