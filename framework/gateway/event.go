package gateway

// Events of clients, which a gateway sends to BusinessWorkers. A peer that sends one is closed.
const (
	EventConnect          Command = 1
	EventMessage          Command = 3
	EventClose            Command = 4
	EventPing             Command = 201 // concerns no client: it keeps the connection alive
	EventWebSocketConnect Command = 205 // the handshake, as PHP's superglobals
)
