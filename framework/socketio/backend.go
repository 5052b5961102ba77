package socketio

import (
	"context"
	"errors"
	"net"
	"net/http"
)

// Backend makes connections of pages. The root package implements it over the connections of the
// hub.
type Backend interface {
	// Allowed reports whether pages of the request's Origin may connect. Requests without Origin
	// are decided by the configuration as well.
	Allowed(r *http.Request) bool
	// Open admits a request that is no WebSocket handshake, and makes a connection without a
	// socket. Origin, token and limits are checked. ok is false where it was refused and answered.
	// See Opener for the rest.
	Open(w http.ResponseWriter, r *http.Request, version int, ended func()) (c Conn, ok bool)
}

// Opener makes a connection without a socket. version is that of Engine.IO, 3 or 4. ended is called
// once, when the connection has ended for whatever reason, in a goroutine of its own; what waits
// can still be taken. An error means that the server cannot take the connection now (503).
//
// A connection of version 3 has the packet that connects the default namespace in its queue. The
// packet Open is the caller's to send.
type Opener func(version int, ended func()) (Conn, error)

// Errors of a Conn.
var (
	// ErrEnded is returned for a connection that has ended.
	ErrEnded = errors.New("the connection has ended")
	// ErrAttached is returned for a connection that has a WebSocket.
	ErrAttached = errors.New("the connection has a WebSocket")
	// ErrBusy is returned while another call of Receive runs.
	ErrBusy = errors.New("packets of the connection are being handled")
)

// Conn is the connection of one page. All methods are safe for concurrent use.
type Conn interface {
	// Take waits until something is to be sent, and returns complete Engine.IO packets, in order,
	// for the answer to a poll: at least one, and as many as fit into so many bytes. They are
	// removed from the queue. The last packet of a connection that ends is Close; after it, the
	// error is ErrEnded. With ctx's error nothing was removed. The error is ErrAttached after
	// Attach, also of a call that waits.
	Take(ctx context.Context, bytes int) (packets [][]byte, err error)
	// Receive handles packets of the client in their order, as if each were a text message of a
	// WebSocket: rates are limited, and a fault ends the connection. The packets are only used
	// until it returns. The error is ErrBusy, ErrAttached or ErrEnded, and nothing or not
	// everything was handled then.
	Receive(packets [][]byte) error
	// Attach gives the connection a WebSocket whose handshake is answered. What is queued is
	// written first, and early holds bytes of the client's frames that were read already. After an
	// error (ErrBusy, ErrAttached, ErrEnded, or one of the socket) the socket is the caller's.
	Attach(socket net.Conn, early []byte) error
	// Touch notes a sign of life, such as a poll.
	Touch()
	// Close ends the connection after what is queued. A WebSocket gets the code and the reason.
	Close(code int, reason string)
}

// Handshake is a WebSocket handshake (RFC 6455 §4.2.1) that the port has checked, and not answered.
type Handshake struct {
	Socket  net.Conn
	Request *http.Request
	Early   []byte // bytes after the request; valid until Port.WebSocket returns
	// Open makes the connection of a handshake without sid, which was admitted. It may be called
	// until Port.WebSocket returns. nil = the request has a sid, and only its origin was checked.
	Open Opener
}

// Port is what the engine offers to a listener: requests that are no handshakes, and handshakes.
type Port interface {
	http.Handler
	// WebSocket answers a handshake, owns its socket from then on, and returns without waiting for
	// the client.
	WebSocket(h Handshake)
}
