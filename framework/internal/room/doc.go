// Package room holds the rooms of this process and their members, and writes a publish to all
// members of a room.
//
// The hub makes one Rooms, and a Member for each connection; the packages above publish and join
// through the hub. The package needs neither socket nor store: it hands encoded frames to the
// Outbox of each member.
//
//	rooms := room.New(room.Config{Flush: 5 * time.Millisecond, …})
//	var m room.Member
//	m.Init(rooms, fd, outbox)
//	_, err := m.Join("lobby")
//	n := rooms.Publish("lobby", wire.TextFrame(payload)) // to n members
//	names := m.LeaveAll()
//
// A publish to a quiet room is written at once. While a fan-out runs, or when publishes come
// faster than two a tick, frames are collected. They leave as one shared buffer for all members,
// in one write for each member and tick.
//
// Rooms whose pushes are kept in a history know positions in it. Two types hold pushes back, so
// that members get the pushes that they missed first, and none twice: a CatchUp for one
// reconnected member, and a Hold for all members of a room when pushes between nodes were lost.
//
// # Concurrency
//
// All methods of Rooms, Member, CatchUp and Hold are safe for concurrent use, except Init. Locks
// are taken in this order:
//
//	Member.mu → shard.mu → Room.mu
//
// An Outbox is called under Member.mu or Room.mu, never under shard.mu. It must neither block nor
// call this package.
package room
