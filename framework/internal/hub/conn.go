package hub

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
	"go.uber.org/zap"

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

	// Set before Serve and never changed.
	Auth   auth.Identity
	Remote string    // the client's address, from a trusted proxy's header where there is one
	Since  time.Time // when it was accepted
	// Data is the layer above's own per-connection state. Set before Serve.
	Data any

	hub   *Hub
	sock  socket
	proto string        // Sec-WebSocket-Protocol to answer, "" = none
	br    *bufio.Reader // gws's

	deflate bool // permessage-deflate was negotiated; set before the reader starts

	// The reader's: only the goroutine in Serve touches these.
	in inbound

	// Guarded by mu.
	mu         sync.Mutex
	state      state
	out        outbox
	close      wire.Close
	closedHere bool // the close code is the server's choice
	doomed     bool // it will be closed: see Doom
	ended      bool
	done       chan struct{} // made on demand, closed when the connection ends

	// A move to another process; guarded by mu. See move.go.
	adopted  bool          // came from another process: gws's handshake answer is swallowed
	start    func()        // begins reading, once adopted
	thaw     chan struct{} // non-nil: frozen
	parked   bool          // the reader waits for thaw
	counted  bool          // Freeze waits for the reader
	exported bool          // another process has a copy; what is sent here goes there too
	moved    bool          // it lives there now
	mover    Mover
	onLeft   func(fd int64)
	late     *wire.Close // closed while exported: holds here, should the move fail

	reader atomic.Int32 // where the reader is: see away.go
	since  int64        // when it became away, for a connection that was adopted; guarded by mu

	uids uids // that it is bound to

	// Read by housekeeping without a lock.
	lastIn      atomic.Int64 // when the last byte arrived, in seconds of Hub.clock
	lastPing    atomic.Int64 // when we sent the last ping
	messageFrom atomic.Int64 // when the first byte of the message came that is arriving, 0 = none
	traffic
}

// Accept registers nothing yet: it wraps an accepted socket whose handshake request was read. early holds bytes that
// arrived behind the handshake. The Conn must be given to Serve.
func (h *Hub) Accept(nc *net.TCPConn, early []byte, fd int64, id auth.Identity, remote, protocol string) (*Conn, error) {
	c := &Conn{Auth: id, Remote: remote, Since: time.Now(), hub: h, proto: protocol}
	c.Member.Init(h.Rooms, fd, c)
	if err := c.sock.init(nc); err != nil {
		return nil, fmt.Errorf("take over the accepted socket: %w", err)
	}
	c.in.init(c)
	c.out.c = c
	if len(early) > 0 {
		c.in.receive(early)
	}
	now := h.clock.seconds.Load()
	c.lastIn.Store(now)
	c.lastPing.Store(now - fd%h.pingSeconds()) // those that come together are not pinged together
	return c, nil
}

// Serve writes the 101, calls opened, and starts the connection's reader; it returns as soon as that runs. The reader calls first, if
// there is one, before it reads. The close path
// runs exactly once, whatever happens: leave all rooms, Handler.Closed, flush what is queued, close the socket. On an
// error the connection never was: the socket is closed and neither opened nor Handler is called.
func (c *Conn) Serve(r *http.Request, opened, first func()) error {
	h := c.hub
	h.inside.Add(1)
	c.br = bufio.NewReaderSize((*shim)(c), 64)
	ws, err := h.upgrader.UpgradeFromConn((*shim)(c), c.br, r)
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
	go c.run(ws, first)
	return nil
}

func (c *Conn) run(ws *gws.Conn, first func()) {
	if first == nil {
		c.loop(ws)
		return
	}
	defer func() { go c.loop(ws) }() // also when first has ended this goroutine
	c.guard(func() { c.act(first) })
}

// loop reads until the connection ends. It goes on in a fresh goroutine, whose stack is small, whenever the connection has become
// quiet, and where an action has ended this one (runtime.Goexit).
func (c *Conn) loop(ws *gws.Conn) {
	again := true
	defer func() {
		if again {
			go c.loop(ws)
			return
		}
		c.hub.inside.Add(-1)
	}()
	if !c.hasMoved() {
		c.in.rest()
		if c.guard(ws.ReadLoop) {
			return
		}
	}
	again = false
	if c.hasMoved() {
		c.leaveMoved()
		return
	}
	defer c.linger() // whatever a close listener does
	c.finish()
}

// guard recovers whatever gws or a callback below it may throw: the process and the other connections live on. It tells whether
// the reader only rests.
func (c *Conn) guard(f func()) (rests bool) {
	defer func() {
		switch v := recover(); v {
		case nil, errMoved:
		case errRest:
			rests = true
		default:
			c.hub.cfg.Log.Error("panic in the read loop", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			c.Close(wire.CloseInternal, "internal error")
		}
	}()
	f()
	return false
}

// finish is the close path's bookkeeping half.
func (c *Conn) finish() {
	c.mu.Lock()
	if c.state == open {
		c.end(wire.CloseAbnormal, "") // the peer vanished without a close frame
	}
	end := c.close
	c.settled()
	c.mu.Unlock()
	c.hub.totals.add(&c.traffic)
	c.hub.remove(c)
	rooms := c.leaveAll()
	defer func() {
		if v := recover(); v != nil {
			c.hub.cfg.Log.Error("panic on close", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
	}()
	c.hub.handler.Closed(c, end.Code, end.Reason, rooms)
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
	c.tellDone()
}

// tellDone closes Done, once. c.mu is held.
func (c *Conn) tellDone() {
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

// Close sends a close frame behind what is queued and ends the connection. It returns at once; the first call counts.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	c.closeLocked(code, reason)
	c.mu.Unlock()
}

// Doom notes that the connection is to be closed behind something that is still on its way; it is served until then. false: that was
// noted before, or it is closing.
func (c *Conn) Doom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doomed || c.state >= closing {
		return false
	}
	c.doomed = true
	return true
}

// Doomed tells whether the connection is closed, closing, or to be closed.
func (c *Conn) Doomed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doomed || c.state >= closing
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
			c.tellDone()
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

const lingerTime = time.Second

// linger lets the peer read what we wrote, the close frame above all: closing a socket with unread bytes in its receive
// buffer resets the connection and takes our last frames with it. So: write out, half-close, discard until the peer
// closes, for at most a second.
func (c *Conn) linger() {
	c.mu.Lock()
	writing := c.out.writing
	var flushed chan struct{}
	if writing {
		flushed = make(chan struct{})
		c.out.flushed = flushed
	}
	c.mu.Unlock()
	if writing {
		<-flushed // bounded: the writer gives up after WriteTimeout without progress
	}
	if !c.in.failed { // else the peer has closed, and everything of it is read
		c.sock.drain(lingerTime)
	}
	c.mu.Lock()
	c.state = closed
	c.sock.close()
	c.mu.Unlock()
	c.in.release()
}

// pingSeconds is the time between two pings.
func (h *Hub) pingSeconds() int64 { return max(int64(h.cfg.PingInterval/time.Second), 1) }

// check is housekeeping's look at one connection; now is in seconds of Hub.clock.
func (c *Conn) check(now int64) {
	cfg := &c.hub.cfg
	if from := c.messageFrom.Load(); from != 0 && c.reader.Load() == listening && now-from > int64(cfg.MessageTime/time.Second) {
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

// dispatch hands one message to the Handler.
func (c *Conn) dispatch(data []byte) {
	c.msgsIn.Add(1)
	if c.in.more() {
		c.out.cork()
	}
	c.act(func() { c.hub.handler.Message(c, data) })
}

// act runs what the reader is to do for the application, and recovers what it throws.
func (c *Conn) act(f func()) {
	from := c.hub.clock.seconds.Load()
	c.reader.Store(away)
	defer func() {
		if v := recover(); v != nil {
			c.hub.cfg.Log.Error("panic in a message handler", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
		c.back(from)
		if c.hub.frozen.Load() {
			c.parkBusy() // it may have been exported during the action
		}
	}()
	f()
}
