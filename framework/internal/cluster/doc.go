// Package cluster keeps one node's place in Redis: the numbers of its connections, the bookkeeping
// of contract §4, and the node's sign of life.
//
// The bookkeeping must outlive the process, for its clean-up, for back ends and for other nodes.
// The root package of the framework is the only user. It starts a Node and hands its parts to the
// packages that need them. The Node needs a go-redis client of its own, beside the application's.
//
//	n, err := cluster.Start(ctx, cluster.Config{
//		Client: client, NodeID: "a", Live: live, Alive: alive, State: state, Orphan: orphan,
//	})
//	n.Run()
//	fd, err := n.Numbers.NextFD()
//	n.Bookkeeping.Opened(cluster.Entry{FD: fd, Auth: identity})
//	n.Bookkeeping.KeyAdded(fd, "room")
//	…
//	err = n.Stop(ctx)
//
// # Parts
//
// Each part knows only parts below it:
//
//	Node             starts, runs and stops the others
//	 ├ Watch         declares nodes dead whose lease is gone
//	 ├ Strays        removes connections that are on no node's list
//	 ├ Writer        writes the journal to Redis
//	 │  ├ comparison compares Redis with the live connections, after doubts, outages and losses
//	 │  └ departures remembers who left, in case Redis is emptied before that was announced
//	 ├ Bookkeeping   notes what happens to connections
//	 ├ Leftovers     has connections of earlier processes of this node cleaned up
//	 ├ Rooms         reads and mends the rooms' sets
//	 ├ Sweeper       cleans up after a dead process, as one of many sweepers
//	 ├ Owners        decides which process notifies a connection's listeners, and notes its end
//	 ├ Presence      knows who is in rooms that announce their members
//	 ├ Lease         shows that the node lives, and holds its id
//	 ├ Peers         knows the other nodes
//	 ├ Numbers       gives connection numbers, reserved in blocks
//	 └ journal       holds what Redis does not know yet
//
// Methods that take a context wait for Redis. All others return at once: they append to a journal,
// which one goroutine writes to Redis in pipelines, in order. While Redis is unreachable the
// journal grows up to a limit. Beyond it the whole journal is dropped, and Redis is compared with
// the live connections when it answers again. The same goroutine also asserts the live connections
// from time to time, so it never writes an older state over a newer one. All methods are safe for
// concurrent use.
//
// A Redis without memory accepts removals only: those are written, and additions follow when it has
// memory (full.go). Flush waits for them.
//
// # Death
//
// A process that holds connections is a member: the node's id and an incarnation that is never used
// twice. With Config.Lease, a member has a key with a time to live, its lease. A member whose lease
// is missing for a while, although Redis answers, is declared dead by a mark that stays for a day.
// Its process can only continue as another incarnation, with other numbers (Config.Deposed). A
// worker that starts declares the earlier incarnations of its node dead at once.
//
// The connections of a dead member are cleaned up by whoever claims them, one by one: claim (a key
// with a time to live), Config.Orphan, a mark that it has run, removal of close keys and
// bookkeeping, removal from the member's list. So Orphan runs exactly once per connection, however
// many nodes try, and is not lost when a sweeper dies after its claim. It runs twice only when the
// sweeper dies, or loses Redis for longer than a claim lasts, between the end of Orphan and the
// mark; or is frozen inside Orphan.
//
// A member that cannot reach Redis does not know whether it is dead. So who must notify the
// listeners of a connection that ends then is known when Redis answers (Owners): another member, if
// this one was declared dead, but this one for a connection that Redis has never heard of.
//
// # Presence
//
// With Config.Away, a user in a room that announces its members counts once, whatever the number of
// his connections and nodes. Came reports whether he was not in the room before, Leaving notes that
// he may have left, and Depart, called by all nodes again and again, finds who has left. A
// connection that is cleaned up after is a departure too, so none is lost with a process, with the
// journal, or with a node that stops. Who is in a room is asserted together with the connections.
package cluster
