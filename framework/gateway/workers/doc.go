// Package workers tells BusinessWorkers of GatewayWorker what happens to the clients of the
// gateway's WebSocket port: an unmodified Events.php handles them.
//
// Each client has one worker, which gets its events in their order over the inner port:
//
//	client ──► Table ──► worker     connect, websocket_connect, message …, close
//
// The framework gives events to a Table as gateway.Clients, and the inner port gives it the
// workers' connections as gateway.Workers. An event that no worker can take is kept, and its
// client is not read until the event has been sent:
//
//   - Without any worker, events wait for Config.Wait. Then the client is closed with 1013.
//   - A worker that does not read has 10,240,000 bytes waiting for it at most.
//
// A Table is safe for concurrent use, and none of its methods blocks. Its fields and those of
// clients and workers are guarded by Table.mu.
package workers
