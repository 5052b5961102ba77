// Package room holds the rooms of this process: who is in them, and how a publish reaches all of their members.
//
// The hub makes one Rooms, and a Member for each connection; the packages above publish and join through the hub. The
// package needs neither socket nor store: it hands encoded frames to the Outbox that each member brings along.
//
//	rooms := room.New(room.Config{Flush: 5 * time.Millisecond, …})
//	var m room.Member
//	m.Init(rooms, fd, outbox)
//	_, err := m.Join("lobby")
//	n := rooms.Publish("lobby", wire.TextFrame(payload)) // n members get it
//	names := m.LeaveAll()
//
// A publish into a quiet room is written at once. While a fan-out runs, or when publishes come faster than two a tick, frames are
// collected and leave as one shared buffer for all members: one write for each member and tick.
//
// Rooms whose pushes are kept know positions in their history. Two things hold pushes back, so that each member gets what it
// missed first, and nothing twice: a CatchUp for one member that has come back, and a Hold for all members of a room, when pushes
// between nodes were lost.
//
// # Concurrency
//
// All methods of Rooms, Member, CatchUp and Hold are safe for concurrent use, except Init. Locks are taken in this order:
//
//	Member.mu → shard.mu → Room.mu
//
// An Outbox is called under Member.mu or Room.mu, never under shard.mu. It must not block, and must not call back.
package room
