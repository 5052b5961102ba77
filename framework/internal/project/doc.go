// Package project makes, extends and upgrades projects: folders with an application of their own
// and a copy of the framework in wsframe/. The console's commands new, make and upgrade call it,
// with the framework's sources as files (package wsframe) and, for an upgrade, functions that run
// the go command and ask a running server.
//
// Each operation is complete or has changed nothing. New and Make write beside the place and
// rename. Upgrade notes in the folder .wsframe-upgrade what it replaces, so that the next Upgrade
// puts the previous framework back after a process was killed.
//
// The package keeps no state. Its functions may run at the same time for different folders; a lock
// on .wsframe-upgrade keeps two upgrades of one project apart.
package project
