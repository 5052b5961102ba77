// Package process runs wsframe as two processes: a small master with a stable pid, and a worker
// that holds all connections and runs the application.
//
//	console -s start
//	└─ master   opens the listeners, runs the embedded store and the admin port, starts workers
//	   └─ worker   inherits the listeners; accepts, routes, answers
//
// The master serves no client and runs no application code. So it can replace the worker by the
// binary now on disk while its own pid, the listeners and the store stay. A worker that crashes or
// does not boot affects neither.
//
// Master and worker exchange requests over an inherited socket pair (control.go). When it breaks,
// the worker stops by itself: it never outlives its master. Package console runs the master,
// package boot the worker.
package process
