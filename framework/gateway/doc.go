// Package gateway speaks the protocols of GatewayWorker, so that PHP back ends of such an
// installation work with wsframe unchanged.
//
// GatewayWorker has a Register, which lists the addresses of gateways, and gateways, which hold
// the clients. PHP programs ask the Register for the list, connect to the inner port of each
// gateway, and send commands: to a client, a group, a user or all, and questions about them. This
// package takes the place of both.
//
//	PHP ──► Register     JSON lines: the list of gateways, and each change of it
//	PHP ──► Inner        frames ──► Commands ──► Backend
//	                     answers ◄──
//
// A Backend does what the commands ask: the package declares it and knows nothing of the
// framework. Connections are identified by the connection_id of GatewayWorker, a number of 32
// bits; a ClientID has the gateway's address as well.
//
// A BusinessWorker sends commands, too, and gets the events of clients (package workers) on the
// same connection. Inner tells Workers of it.
//
// Peers are trusted as GatewayWorker trusts them: without a secret anyone who connects may send
// commands. Whatever a peer sends, other connections do not notice, and memory grows only with
// the bytes that have arrived.
//
// Register, Inner and Commands are safe for concurrent use.
package gateway
