// Package cluster keeps a node's place in Redis: the numbers its connections get, the bookkeeping
// of contract §4 that must outlive the process, for clean-up, for back ends and for other nodes,
// and the node's sign of life.
//
//	n, err := cluster.Start(ctx, cluster.Config{
//		Client: client, NodeID: "a", Live: live, Alive: alive, Orphan: orphan,
//	})
//	n.Run()
//	fd, err := n.NextFD()
//	n.Opened(cluster.Entry{FD: fd, Auth: identity})
//	n.KeyAdded(fd, "room")
//	…
//	err = n.Stop(ctx)
//
// Start puts the parts together, each of which knows only those below it:
//
//	Node
//	 ├ Watch ──────── looks for nodes whose lease is gone
//	 ├ Strays ─────── looks for connections that no node's list has
//	 ├ Writer ─────── notes what happens to connections; Run writes it
//	 │  ├ comparison  Redis against the live connections, after doubts, outages and losses
//	 │  ├ departures  who left and may have to be told again
//	 │  ├ Owners ──── whose connections are, after a death
//	 │  └ journal ─── what Redis does not know yet
//	 ├ Leftovers ──── what earlier processes of this node have left behind
//	 ├ Sweeper ────── cleans up after a process, one of many sweepers
//	 ├ Lease ──────── the sign of life, and the right to the node's id
//	 ├ Peers ──────── the other nodes
//	 ├ Presence ───── who is in rooms that tell of it
//	 ├ Numbers ────── connection numbers, in blocks
//	 └ client, plan ─ calls of Redis, and the order of what one write does
//
// The root package of the framework is its only user. It needs a go-redis client of its own, beside
// the application's.
//
// Nothing here waits for Redis but Start, Flush, Stop, SyncRoom, Dead, Living, Signs, Nodes, Came,
// Depart and, while Redis does not answer, Owns: what happens is appended to a journal that one
// goroutine writes to Redis in pipelines, in order. While Redis is away the journal grows, up to a
// bound; beyond it the journal is dropped whole, and Redis is compared with the live connections
// once it is back. That goroutine also asserts the live connections again from time to time, so
// nothing it reads of them can be older than what it has written. All methods are safe for
// concurrent use.
//
// A Redis without memory takes removals only: those are written, and additions follow when it has
// memory (full.go). Flush waits for them.
//
// # Death
//
// A process that holds connections is a member: the node's id and an incarnation that is never used
// twice. With Config.Lease a member shows that it lives by a key with a time to live. A member
// whose lease is missing for a while, with Redis answering, is declared dead by a mark that stays
// for a day: it can only come back as another incarnation, with other numbers (Config.Deposed). A
// worker that starts declares the earlier ones of its node dead at once.
//
// The connections of a dead member are cleaned up by whoever claims them, one by one: claim (a key
// with a time to live), Config.Orphan, a mark that it has run, removal of close keys and
// bookkeeping, removal from the member's list. So Orphan runs exactly once per connection, however
// many nodes try, and is not lost when a sweeper dies after its claim. It runs twice only where the
// sweeper dies, or loses Redis for longer than a claim lasts, between the end of Orphan and the
// mark; or is frozen inside Orphan.
//
// A member that cannot reach Redis does not know whether it is dead. So whose it is to tell of a
// connection that ends then is known when Redis answers (Owner, Owns): another's, if the member was
// declared dead, but its own where Redis has never heard of the connection.
//
// # Presence
//
// With Config.Away, users in rooms that tell of them are counted once, whatever the number of their
// connections and nodes: Came says whether one was not there before, Leaving notes that one may
// have left, and Depart, called by all nodes again and again, finds who is away for good. What
// Redis knows of a connection that is cleaned up is a departure too, so none is lost with a
// process, with the journal, or with a node that stops; and who is there is asserted together with
// the connections.
package cluster
