// Package pages makes connections of socket.io pages connections of the hub.
//
// It translates what is sent to them, answers their packets, and binds a page to the user who logs
// in on it. Nothing else of a page reaches the application. The root package makes one Pages, opens
// connections with it for the engine of package socketio, and has it take over connections that a
// reload moves. It needs neither sockets nor HTTP.
//
//	pages.Open ──▶ hub.Polled ──▶ engine (socketio.Conn)
//	hub ── Message ──▶ page ── socketio.Dialogue ──▶ Config.Bind
//	hub ── Translate ──▶ 42["event",param]
//
// All methods are safe for concurrent use. The package has no lock.
package pages
