// Package hub holds every live WebSocket connection of this process.
//
// It stands between the socket and gws: gws reads, validates and assembles messages, but all bytes pass a
// net.Conn of ours (the shim, inbound.go) that guards frame headers before gws sees them, and everything that is written
// goes through one bounded outbox per connection (outbox.go). So a slow or hostile peer costs a bounded
// amount and nobody else waits for it, and a connection can be frozen at a frame boundary and moved to another process.
//
// The packages of framework make one Hub for a process, give it each connection whose handshake they have allowed, and are its
// Handler; the example shows all of that. It needs package room for what goes to many, and wire for frames.
//
// A Conn's parts are types of their own: inbound reads (and frames, which needs no socket, checks what comes), outbox writes (and
// queue holds what waits), move hands over, room.Member is in rooms, Bound is found by uids.
//
// # Concurrency
//
// All methods of Hub and Conn are safe for concurrent use, except Serve, which belongs to the connection's own
// goroutine. Handler.Message runs in that goroutine, one frame at a time, in the order of arrival.
//
// # Lock order
//
//	the locks of package room → Conn.mu
//	Bound.mu → userShard.mu
//
// Conn.mu, shard.mu and userShard.mu are leaves: no other lock is taken and nothing blocks under them. The write(2) under Conn.mu is
// non-blocking.
package hub
