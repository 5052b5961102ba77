// Package socketio serves socket.io clients 1.x to 4.x: Engine.IO of the protocol versions 3 and 4,
// and Socket.IO of the default namespace.
//
// An Engine answers the HTTP requests and the WebSocket handshakes of a port. It has the sessions
// that poll, and upgrades them to WebSockets. Connections are a Backend's, which the root package
// implements over those of the hub: it asks a Dialogue what each packet means. A WebSocket belongs
// to its connection once it is attached, so pages at rest need nothing of this package.
//
//	GET, POST ──▶ Engine ── session ──▶ Backend.Open, Conn.Take, Conn.Receive
//	handshake ──▶ Engine ── upgrade ──▶ Conn.Attach
//
// A payload is the body of a poll or a POST, and holds packets. Over a WebSocket each packet is one
// text frame. A packet of the type Message holds a Socket.IO packet.
//
//	payload ── Form.Parse ──▶ packets ── Dialogue.Packet ──▶ Step: an answer, an event, a login, an end
//
// An Engine is safe for concurrent use, and so are all functions. A Dialogue belongs to one
// goroutine at a time.
package socketio
