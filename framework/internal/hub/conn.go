package hub

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

type state uint8

const (
	opening state = iota // the 101 is not written yet
	open                 // serves
	closing              // a close frame is queued or sent; frames are neither accepted nor dispatched
	closed               // the descriptor is closed
)

// Conn is one live WebSocket connection.
type Conn struct {
	room.Member  // membership in rooms; Member.FD is the connection's number
	Bound[*Conn] // uids by which the connection is found

	// Set before Serve and never changed.
	Auth   auth.Identity
	Remote string    // the client's address, from a trusted proxy's header where there is one
	Since  time.Time // when it was accepted
	// Data belongs to the layer above. It is set before Serve.
	Data any
	// Page is that of a socket.io page; nil = the client speaks the server's own protocol.
	Page *Page

	hub   *Hub
	sock  socket
	proto string // Sec-WebSocket-Protocol to answer, "" = none

	// Owned by the reader's goroutine.
	in inbound

	// Guarded by mu.
	mu          sync.Mutex
	out         outbox
	close       wire.Close
	state       state
	closedHere  bool          // the server has chosen the close code
	closingSoon bool          // see SetClosingSoon
	ended       bool          // done is closed, or will be made closed
	done        chan struct{} // made on demand, closed when the connection ends

	move // guarded by mu

	// Read by housekeeping without a lock.
	lastIn      atomic.Int64 // time of the last byte received, in seconds of Hub.clock
	lastPing    atomic.Int64 // time of the last ping sent, likewise
	messageFrom atomic.Int64 // time of the first byte of an incomplete message, likewise; 0 = none
	due         atomic.Int64 // second of the next visit, see wheel
	traffic
}

// Accept makes a Conn of an accepted socket whose handshake request was read. early holds bytes
// that arrived after the request. The Conn is not registered before Serve, which the caller must
// call.
func (h *Hub) Accept(nc *net.TCPConn, early []byte, fd int64, id auth.Identity, remote, protocol string) (*Conn, error) {
	c := &Conn{Auth: id, Remote: remote, Since: time.Now(), hub: h, proto: protocol}
	c.init(fd)
	if err := c.sock.init(nc); err != nil {
		return nil, fmt.Errorf("take over the accepted socket: %w", err)
	}
	if len(early) > 0 {
		c.in.receive(early)
	}
	now := h.clock.seconds.Load()
	c.lastIn.Store(now)
	c.lastPing.Store(now - fd%h.pingSeconds()) // spreads the pings of connections that came together
	return c, nil
}

// init connects the parts of a connection.
func (c *Conn) init(fd int64) {
	c.Member.Init(c.hub.Rooms, fd, c)
	c.Bound.c, c.Bound.users = c, &c.hub.users
	if c.Page != nil {
		c.Member.Dialect = c.Page.Version()
	}
	c.out.c, c.move.c = c, c
	c.in.init(c)
}

// leaveAll removes the connection for good from its rooms and from the index by uid, and returns
// the rooms.
func (c *Conn) leaveAll() []string {
	defer c.unbindAll()
	return c.LeaveAll()
}

// Serve writes the 101, calls opened, starts the connection's reader and returns. The reader calls
// first, unless that is nil, before it reads.
//
// The close path runs exactly once: it leaves all rooms, calls Handler.Closed, writes what is
// queued and closes the socket. After an error the socket is closed, and neither opened nor Handler
// is called.
func (c *Conn) Serve(r *http.Request, opened, first func()) error {
	h := c.hub
	h.inside.Add(1)
	c.in.br = bufio.NewReaderSize((*shim)(c), 64)
	var err error
	if c.in.ws, err = h.upgrader.UpgradeFromConn((*shim)(c), c.in.br, r); err != nil {
		c.sock.close()
		h.inside.Add(-1)
		return err
	}
	c.mu.Lock()
	c.state = open
	c.mu.Unlock()
	h.add(c)
	opened()
	if h.freezing.on.Load() {
		c.freeze(false)
	}
	c.in.start(first)
	return nil
}

var closedChan = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

// Done returns a channel that is closed when the connection's end begins: the peer has gone or sent
// a close frame, or the server closes the connection. An action may still run then.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
	}
	return c.done
}

// Gone reports whether Done is closed.
func (c *Conn) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// end begins the connection's end. No frame is accepted any more, Done is closed, and what waits is
// written by this process even during a move. c.mu is held.
func (c *Conn) end(code int, reason string) {
	c.state = closing
	c.close = wire.Close{Code: code, Reason: reason}
	c.out.corked = false
	c.stay()
	c.endDone()
}

// endDone closes Done, once. c.mu is held.
func (c *Conn) endDone() {
	switch {
	case c.ended:
	case c.done == nil:
		c.done = closedChan
	default:
		close(c.done)
	}
	c.ended = true
}

// Ended reports whether the connection is closing or closed.
func (c *Conn) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state >= closing
}

// ClosedHere reports whether the server has chosen the close code.
func (c *Conn) ClosedHere() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closedHere
}

// Close sends a close frame after what is queued and ends the connection. It returns at once. Only
// the first call has an effect.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	c.closeLocked(code, reason)
	c.mu.Unlock()
}

// Drop is Close of a connection without what is queued. A socket that has got a part of a frame is
// cut.
func Drop(c *Conn, code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == open && !c.moved && !c.exported {
		if c.out.writing {
			c.out.broken()
			return
		}
		c.out.drop()
	}
	c.closeLocked(code, reason)
}

// SetClosingSoon notes that the connection will be closed after frames that are still on their way.
// It is served until then. The result is false if that was noted before or the connection is
// closing.
func (c *Conn) SetClosingSoon() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closingSoon || c.state >= closing {
		return false
	}
	c.closingSoon = true
	return true
}

// ClosingSoon reports whether the connection is closed, closing, or noted by SetClosingSoon.
func (c *Conn) ClosingSoon() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closingSoon || c.state >= closing
}

// CloseAfter closes connections like Close, after everything that was published to their rooms
// before.
func CloseAfter(conns []*Conn, code int, reason string) {
	if len(conns) == 0 {
		return
	}
	members := make([]*room.Member, len(conns))
	for i, c := range conns {
		members[i] = &c.Member
	}
	conns[0].hub.AfterMembers(members, func() {
		for _, c := range conns {
			c.Close(code, reason)
		}
	})
}

func (c *Conn) closeLocked(code int, reason string) {
	if c.state >= closing && !c.moved {
		return
	}
	if c.exported {
		if c.late == nil {
			c.late = &wire.Close{Code: code, Reason: reason}
			c.mover.RelayClose(c.FD, code, reason)
			c.endDone()
		}
		return
	}
	switch code {
	case wire.CloseSlow:
		c.hub.totals.slow.Add(1)
	case wire.CloseIdle:
		c.hub.totals.idle.Add(1)
	}
	serving := c.state == open
	c.closedHere = true
	c.end(code, reason)
	if serving {
		c.out.push(wire.CloseFrame(code, reason), 0, false, nil)
		c.sock.wake() // the reader runs the close path
		signal(c)
	}
}

// signal has the owner of the turn, or a new one, run the close path. c.mu is held.
func signal(c *Conn) {
	if !c.out.away {
		c.in.watched.signal()
		return
	}
	c.Page.wake()
	if c.in.watched.turn.claim() {
		go c.in.conclude()
	}
}

// abort ends the connection at once and drops what is queued.
func (c *Conn) abort() {
	c.mu.Lock()
	c.out.broken()
	c.mu.Unlock()
}

// pingSeconds returns the time between two pings.
func (h *Hub) pingSeconds() int64 { return max(int64(h.cfg.PingInterval/time.Second), 1) }

// check applies the time limits to one connection and pings its peer. now is in seconds of
// Hub.clock.
func (c *Conn) check(now int64) {
	cfg := &c.hub.cfg
	if from := c.messageFrom.Load(); from != 0 && c.in.reader.Load() == readerListening && now-from > messageSeconds(cfg) {
		c.Close(wire.ClosePolicy, "message took too long")
		return
	}
	idle, interval := heartbeat(c)
	if now-c.lastIn.Load() >= idle {
		c.Close(wire.CloseIdle, "idle")
		return
	}
	if now-c.lastPing.Load() >= interval {
		c.lastPing.Store(now)
		c.out.control(c.Page.ping())
	}
}

// heartbeat returns how long the peer may be silent, and the time between two pings, in seconds.
func heartbeat(c *Conn) (idle, interval int64) {
	if c.Page != nil {
		return c.Page.heartbeat(&c.hub.cfg.Pages)
	}
	return int64(c.hub.cfg.IdleTimeout / time.Second), c.hub.pingSeconds()
}

// nextCheck returns the time at which check may have something to do, in seconds of Hub.clock.
func nextCheck(c *Conn) int64 {
	c.mu.Lock()
	watched := c.in.watched.loop != nil || c.out.away
	c.mu.Unlock()
	if !watched {
		return 0 // nobody but housekeeping reads ahead during an action
	}
	cfg := &c.hub.cfg
	idle, interval := heartbeat(c)
	at := min(c.lastIn.Load()+idle, c.lastPing.Load()+interval)
	if from := c.messageFrom.Load(); from != 0 {
		at = min(at, from+messageSeconds(cfg)+1)
	}
	return at
}

func messageSeconds(cfg *Config) int64 { return int64(cfg.MessageTime / time.Second) }

// Idle returns the time since the last byte arrived, to the second.
func (c *Conn) Idle() time.Duration {
	return time.Duration(c.hub.clock.seconds.Load()-c.lastIn.Load()) * time.Second
}

// Counts returns the number of messages received and sent on this connection.
func (c *Conn) Counts() (in, out int64) { return c.msgsIn.Load(), c.msgsOut.Load() }

// Pending returns what waits in the outbox.
func (c *Conn) Pending() (bytes, messages int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.bytes, c.out.frames
}
