// Package process runs wsframe as two processes: a small master with a stable pid, and a worker
// that holds all connections and the application's code.
//
//	console -s start
//	└─ master   opens the listeners, runs the embedded store and the admin port, starts and replaces workers
//	   └─ worker   inherits the listeners; accepts, routes, answers
//
// The master never serves a client and holds no application code: so it can replace the worker by
// the binary now on disk while its own pid, the listeners and the store stay, and a worker that
// crashes or does not boot takes nothing with it.
//
// Master and worker talk over an inherited socket pair (control.go). When it breaks, the worker
// stops by itself: it never outlives its master.
package process
