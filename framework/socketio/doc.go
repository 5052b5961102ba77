// Package socketio reads and writes the packets of socket.io clients 1.x to 4.x: Engine.IO of the
// protocol versions 3 and 4, and Socket.IO of the default namespace.
//
// The package knows neither connections nor HTTP. A payload is the body of a poll or a POST, and
// holds packets. Over a WebSocket each packet is one text frame. A packet of the type Message holds
// a Socket.IO packet.
//
//	payload ── Form.Parse ──▶ packets ── ParsePacket ──▶ Packet ── Event ──▶ name, arguments
//
// All functions are safe for concurrent use, and hold no state.
package socketio
