package gateway

import "net/netip"

// Clients takes the clients of the gateway's own WebSocket port and tells their events to PHP
// workers. The framework calls it; connections of other ports have no events.
//
// Methods must not block: whatever has to wait is kept, and the client is paused.
type Clients interface {
	// Unavailable returns why new clients are to be refused with 503; "" = they may come.
	Unavailable() (reason string)
	// Open is called once for each new client, after its handshake and before its first message.
	Open(c Conn, o Opening) ConnEvents
	// Import is Open for a client that comes from the previous process of a reload. state is what
	// ConnEvents.Export has returned there.
	Import(c Conn, state []byte) (ConnEvents, error)
	// Departed tells of the end of a client whose process or node died.
	Departed(d Departed)
}

// Departed is a client that ended with its process.
type Departed struct {
	ID      ClientID
	Remote  netip.AddrPort
	Port    uint16 // the gateway's WebSocket port, to which the client came
	Session []byte // empty if it was too large to be kept in Redis
}

// ConnEvents takes the events of one client. Calls come one after the other, and Closed is the
// last one.
type ConnEvents interface {
	// Message takes one data message, text or binary. payload is valid until it returns.
	Message(payload []byte)
	// Closed is called once when the client's connection has ended. The client is in no group and
	// has no uid any more. session is its last session.
	Closed(session []byte)
	// Export returns what Import needs. Nothing is called between Export and the end of this
	// process, unless the reload fails: then calls continue.
	Export() []byte
}

// Conn is a client's connection. All methods are safe for concurrent use and never block.
type Conn interface {
	// ID returns the connection_id.
	ID() uint32
	// Session returns PHP's serialize(), which must not be changed; empty at first.
	Session() []byte
	// Pause stops reading: at most the messages that have arrived already are still given to
	// ConnEvents. Resume continues. Neither is counted.
	Pause()
	Resume()
	// Send sends a message after everything that was sent before.
	Send(m Message)
	// Close closes the connection with a close code after everything that was sent before.
	Close(code int, reason string)
}

// Opening is what a client's handshake has told.
type Opening struct {
	Remote netip.AddrPort // the client's address, from a trusted proxy's header where there is one
	Port   uint16         // the gateway's WebSocket port, to which the client came
	Method string         // GET
	URI    string         // as the client wrote it
	Proto  string         // HTTP/1.1
	Header []HeaderField  // in the order of the request
}

// HeaderField is one header line. Lines of one name are not joined.
type HeaderField struct{ Name, Value string }
