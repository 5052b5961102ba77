// Package hub holds every live WebSocket connection of this process.
//
// The package stands between sockets and gws, which validates and assembles messages. All bytes
// pass a net.Conn of this package (shim.go, inbound.go) that checks frame headers before gws sees
// them. Everything that is written passes one bounded outbox per connection (outbox.go). So a slow
// or hostile peer costs a bounded amount and delays nobody else, and a connection can be frozen at
// a frame boundary and moved to another process.
//
// Package framework makes one Hub for a process, passes it each connection whose handshake it has
// allowed, and is its Handler. The example shows that. Package room serves what goes to many
// connections, and package wire encodes frames.
//
// The parts of a Conn are types of their own: inbound reads, frames checks what was read, outbox
// writes, queue holds what waits, move hands the connection over, room.Member joins rooms, Bound
// indexes uids. Page belongs to socket.io pages, and Polled serves them without a socket.
//
// # Concurrency
//
// All methods of Hub and Conn are safe for concurrent use, except Serve, which belongs to the
// connection's own goroutine. Handler.Message runs in that goroutine, one frame at a time, in the
// order of arrival.
//
// # Lock order
//
//	the locks of package room → Conn.mu
//	Bound.mu → userShard.mu
//
// Conn.mu, shard.mu and userShard.mu are leaves: no other lock is taken and nothing blocks under
// them. The write under Conn.mu is non-blocking.
package hub
