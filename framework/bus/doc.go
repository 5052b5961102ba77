// Package bus carries what nodes tell each other, through Redis streams, and keeps the history of rooms.
//
//	b, err := bus.Start(ctx, bus.Config{Client: client, Receive: receive})
//	b.Run()
//	err = b.Send(&bus.Message{Kind: 1, Key: "room", Body: frame, Keep: 100, Age: time.Hour}) // never waits
//	page, err := b.History(ctx, "room", after, 50)
//	…
//	err = b.Stop(ctx)
//
// All methods are safe for concurrent use.
//
// # Order
//
// A message's Key chooses one of the shards, each a capped stream. All nodes, the sender's too, deliver from the stream: so
// the messages of a key come in one order everywhere, and those of a sender in the order of their Send. A
// message costs Redis one XADD, whoever wants it, and what waits together is written by one script call. A stream keeps about a
// minute, at most 64 MiB and 100,000 messages: who is away for longer than that was declared dead before.
//
// # Nothing twice, nothing lost
//
// A sender is a process: a random token, and per shard a number for each message without gaps. Redis notes the highest number
// that it has of each sender and ignores what comes again, so a call whose answer was lost is repeated without harm, whatever
// happened to it. What Redis took is remembered for some seconds more: a Redis that comes back with older
// data (killed between two fsyncs, failed over) gets it again, and receivers ignore the numbers that they had. What is left
// is counted in Stats.Lost: messages that Redis refuses for good, and those that a reader was too late for.
//
// # Behind
//
// The messages of two keys may come by two shards, in any order. Cursor and After have something done behind everything that was sent
// before, here or on another node that is told the mark: when it has been received, or has not been for so long as nothing should wait.
//
// # Alone
//
// Where the store is this server's own there is nobody to tell. What is sent is given to Receive in the same order
// without the stream; only kept messages go to Redis first, for their offsets.
//
// # Reload
//
// Suspend stops everything and gives a state from which another process goes on as the same sender from the same positions.
// Handed then makes a new sender of what the old process still has to say; where the store is its own it says so
// through the stream, which its successor reads for some minutes; only then two senders' messages to one room may be
// delivered out of the order of their offsets. Resume goes on as if nothing had happened.
package bus
