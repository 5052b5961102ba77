// Package bus carries messages between nodes through Redis streams, and keeps the history of rooms.
//
//	b, err := bus.Start(ctx, bus.Config{Client: client, Receive: receive})
//	b.Run()
//	err = b.Send(&bus.Message{Kind: 1, Key: "room", Body: frame, Keep: 100, Age: time.Hour})
//	page, err := b.History(ctx, "room", after, 50)
//	…
//	err = b.Stop(ctx)
//
// Package framework reaches it by internal/link. All methods are safe for concurrent use.
//
// # Order
//
// A message's Key chooses one of the shards, each a capped stream. All nodes, the sender's
// included, deliver from the stream: so the messages of a key arrive in one order everywhere, and
// those of a sender in the order of their Send. A message costs Redis one XADD, however many nodes
// want it, and messages that wait together are written by one script call. A stream keeps about a
// minute, at most 64 MiB and 100,000 messages: a node that was unreachable for longer was declared
// dead before.
//
// # Rooms
//
// A message to a room is needed only by nodes with members of it. Beside its stream, each shard has
// sub-streams with copies: one of the messages for all nodes, others of those to rooms, chosen by
// the room. An Interest knows which rooms have members in this process; the bus reads their
// sub-streams, or the whole stream where these are many. The ids of all streams of a shard come
// from one sequence, so that a position in one is a position in all. Want is called before a room
// gets its first member.
//
// # Exactly once
//
// A sender is a process: a random token, and for each shard consecutive message numbers. Redis
// records the highest number that it has of each sender and ignores repeated ones. So a call whose
// reply was lost is repeated without harm. The sender remembers accepted messages for some more
// seconds: a Redis that returns with older data (killed between two fsyncs, failed over) gets them
// again, and receivers ignore the numbers that they have seen. Stats.Lost counts the rest: messages
// that Redis refuses for good, and those that a reader was too late for.
//
// # Cursors
//
// Messages of two keys may arrive by two shards, in any order. Cursor is the position after
// everything that a sender has sent. After calls a function once that has been received, here or on
// another node that was given the cursor, or after a time limit.
//
// # Alone
//
// Where the store is this server's own, no other node reads the streams. Messages then go to
// Receive in the same order without the stream; only kept messages go to Redis first, for their
// offsets.
//
// # Reload
//
// Suspend stops everything and returns a state from which another process continues as the same
// sender from the same positions. Detach then makes a new sender of this process, for its last
// messages. Where the store is the server's own they go through the stream, which the next process
// reads for some minutes. Only then may two senders' messages to one room be delivered out of the
// order of their offsets. Resume continues as if nothing had happened.
package bus
