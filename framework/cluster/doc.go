// Package cluster keeps a node's place in Redis: the numbers its connections get, and the bookkeeping of contract §4 that
// must outlive the process, for clean-up, for back ends and for other nodes.
//
//	n, err := cluster.Start(ctx, cluster.Config{Client: client, NodeID: "a", Live: live, Orphan: orphan})
//	n.Run()
//	fd, err := n.NextFD()
//	n.Opened(cluster.Entry{FD: fd, Auth: identity})
//	n.KeyAdded(fd, "room")
//	…
//	err = n.Stop(ctx)
//
// Nothing here waits for Redis but Start, Flush, Stop and SyncRoom: what happens is appended to a journal that one goroutine
// writes to Redis in pipelines, in order. While Redis is away the journal grows, up to a bound; beyond it the
// journal is dropped whole, and Redis is compared with the live connections once it is back. All methods are safe for
// concurrent use.
package cluster
