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
	open
	closing // a close frame is queued or sent: nothing more is accepted, nothing more is dispatched
	closed  // the descriptor is closed
)

// Conn is one live WebSocket connection.
type Conn struct {
	room.Member // its part in rooms; Member.FD is its number
	Bound[*Conn]

	// Set before Serve and never changed.
	Auth   auth.Identity
	Remote string    // the client's address, from a trusted proxy's header where there is one
	Since  time.Time // when it was accepted
	// Data is the layer above's own per-connection state. Set before Serve.
	Data any

	hub   *Hub
	sock  socket
	proto string // Sec-WebSocket-Protocol to answer, "" = none

	// The reader's: only the goroutine in Serve touches these.
	in inbound

	// Guarded by mu.
	mu          sync.Mutex
	out         outbox
	close       wire.Close
	state       state
	closedHere  bool // the close code is the server's choice
	closingSoon bool // it will be closed: see SetClosingSoon
	ended       bool
	done        chan struct{} // made on demand, closed when the connection ends

	move // to another process; guarded by mu

	// Read by housekeeping without a lock.
	lastIn      atomic.Int64 // when the last byte arrived, in seconds of Hub.clock
	lastPing    atomic.Int64 // when we sent the last ping
	messageFrom atomic.Int64 // when the first byte of the message came that is arriving, 0 = none
	traffic
}

// Accept registers nothing yet: it wraps an accepted socket whose handshake request was read. early holds bytes that
// arrived after the handshake. The Conn must be given to Serve.
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
	c.lastPing.Store(now - fd%h.pingSeconds()) // those that come together are not pinged together
	return c, nil
}

// init connects the parts of a connection.
func (c *Conn) init(fd int64) {
	c.Member.Init(c.hub.Rooms, fd, c)
	c.Bound.c, c.Bound.users = c, &c.hub.users
	c.out.c, c.move.c = c, c
	c.in.init(c)
}

// leaveAll takes the connection out of its rooms and the index by uid, for good, and returns the rooms.
func (c *Conn) leaveAll() []string {
	defer c.unbindAll()
	return c.LeaveAll()
}

// Serve writes the 101, calls opened, and starts the connection's reader; it returns as soon as that runs. The reader calls first, if
// there is one, before it reads.
//
// The close path runs exactly once, whatever happens: leave all rooms, Handler.Closed, flush what is queued, close the socket. After an
// error the connection never existed: the socket is closed, and neither opened nor Handler is called.
func (c *Conn) Serve(r *http.Request, opened, first func()) error {
	h := c.hub
	h.inside.Add(1)
	c.in.br = bufio.NewReaderSize((*shim)(c), 64)
	ws, err := h.upgrader.UpgradeFromConn((*shim)(c), c.in.br, r)
	if err != nil {
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
	// A goroutine of its own: the handshake has grown this one's stack, and an idle connection keeps its reader's.
	go c.in.run(ws, first)
	return nil
}

var closedChan = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

// Done is closed when the connection's end has begun: its peer has gone or said so, or it is being closed here. Its action may
// still run then.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
	}
	return c.done
}

// Gone tells whether the connection's end has begun: the same moment at which Done is closed.
func (c *Conn) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// end begins the connection's end: nothing is accepted any more, Done is closed, and what waits is written here although a move
// may be under way. c.mu is held.
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

// Ended tells whether the connection is closing or closed.
func (c *Conn) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state >= closing
}

// ClosedHere tells whether the server has chosen the close code, and not the peer or its silence.
func (c *Conn) ClosedHere() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closedHere
}

// Close sends a close frame after what is queued and ends the connection. It returns at once; the first call counts.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	c.closeLocked(code, reason)
	c.mu.Unlock()
}

// SetClosingSoon notes that the connection will be closed after something that is still on its way; it is served until then. false: that
// was noted before, or it is closing.
func (c *Conn) SetClosingSoon() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closingSoon || c.state >= closing {
		return false
	}
	c.closingSoon = true
	return true
}

// ClosingSoon tells whether the connection is closed, closing, or will be closed.
func (c *Conn) ClosingSoon() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closingSoon || c.state >= closing
}

// CloseAfter closes connections as Close does, after what was published to their rooms before.
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
		c.sock.wake() // the reader leaves its wait and runs the close path
	}
}

// abort ends the connection at once, without writing what is queued.
func (c *Conn) abort() {
	c.mu.Lock()
	c.out.broken()
	c.mu.Unlock()
}

// pingSeconds is the time between two pings.
func (h *Hub) pingSeconds() int64 { return max(int64(h.cfg.PingInterval/time.Second), 1) }

// check is housekeeping's look at one connection; now is in seconds of Hub.clock.
func (c *Conn) check(now int64) {
	cfg := &c.hub.cfg
	if from := c.messageFrom.Load(); from != 0 && c.in.where.Load() == listening && now-from > int64(cfg.MessageTime/time.Second) {
		c.Close(wire.ClosePolicy, "message took too long")
		return
	}
	quiet := now - c.lastIn.Load()
	if quiet >= int64(cfg.IdleTimeout/time.Second) {
		c.Close(wire.CloseIdle, "idle")
		return
	}
	if now-c.lastPing.Load() >= c.hub.pingSeconds() {
		c.lastPing.Store(now)
		c.out.control(wire.ControlFrame(wire.OpPing, nil))
	}
}

// Idle is the time since the last byte arrived, to the second.
func (c *Conn) Idle() time.Duration {
	return time.Duration(c.hub.clock.seconds.Load()-c.lastIn.Load()) * time.Second
}

// Counts are the messages that came in and went out on this connection.
func (c *Conn) Counts() (in, out int64) { return c.msgsIn.Load(), c.msgsOut.Load() }

// Pending is what waits in the outbox.
func (c *Conn) Pending() (bytes, messages int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.bytes, c.out.frames
}
