package hub

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

// Moving a connection to another process of the same server, without its client noticing.
//
//	old process                              new process
//	h.Freeze(ctx)   readers park
//	c.Export()      state, unsent bytes  →   h.Adopt(state, socket)   joins rooms, reads nothing yet
//	c.Send …        relayed              →   …
//	h.Release()     sockets let go       →   c.Begin()                reads and writes
//
// Until Release the old process holds everything too and can Thaw: then it goes on as if nothing had happened.

// Mover takes what the old process still has for exported connections. Its methods are called under locks: they must not block.
type Mover interface {
	// Relay is called for frames that are sent to a connection that has been exported. shared: frames may be kept.
	Relay(fd int64, frames []byte, n int, x *wire.Handling, shared bool)
	// RelayClose is called when an exported connection is to be closed.
	RelayClose(fd int64, code int, reason string)
}

// move is where a connection stands in its move to another process. It is guarded by Conn.mu.
type move struct {
	c        *Conn
	since    int64         // when it did, in seconds of Hub.clock
	start    func()        // begins reading, once adopted
	thaw     chan struct{} // non-nil: frozen
	adopted  bool          // came from another process: gws's handshake answer is swallowed
	parked   bool          // the reader waits for thaw
	counted  bool          // Freeze waits for the reader
	exported bool          // another process has a copy; what is sent here goes there too
	moved    bool          // it lives there now
	mover    Mover
	onLeft   func(fd int64)
	late     *wire.Close // closed while exported: holds here, should the move fail
}

// freezing counts the readers that have not parked yet.
type freezing struct {
	on     atomic.Bool // new connections are frozen, too
	left   atomic.Int64
	parked chan struct{} // signalled when left becomes 0
}

func (f *freezing) done() {
	if f.left.Add(-1) == 0 {
		select {
		case f.parked <- struct{}{}:
		default:
		}
	}
}

// Freeze parks the readers of all connections: what has arrived is dispatched, then nothing more is read. It returns when all
// have parked, or after settle with the number of those whose action still runs. Sends go on, into the outboxes.
func (h *Hub) Freeze(settle time.Duration) (busy int) {
	f := &h.freezing
	f.left.Add(1) // nobody tells before all are counted
	select {
	case <-f.parked: // of the last time
	default:
	}
	f.on.Store(true)
	h.clock.stop(h.cfg.now(), true)
	h.frozen.Store(true)
	h.Each(func(c *Conn) bool { c.freeze(true); return true })
	if f.left.Add(-1) == 0 {
		return 0
	}
	end := time.NewTimer(settle)
	defer end.Stop()
	for f.left.Load() > 0 {
		select {
		case <-f.parked:
		case <-end.C:
			return int(f.left.Load())
		}
	}
	return 0
}

// freeze makes the reader park at its next read and holds the writer. With count, Freeze waits for the reader.
func (m *move) freeze(count bool) {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || m.moved || !c.hub.freezing.on.Load() {
		return
	}
	if count && !m.parked && !m.counted {
		m.counted = true
		c.hub.freezing.left.Add(1)
	}
	if m.thaw != nil {
		return
	}
	m.thaw = make(chan struct{})
	c.out.corked = false
	c.out.hold()
	c.sock.freeze()
}

// settled has Freeze no longer wait for the reader. c.mu is held.
func (m *move) settled() {
	c := m.c
	if m.counted {
		m.counted = false
		c.hub.freezing.done()
	}
}

// Thaw lets all connections go on here that have not moved.
func (h *Hub) Thaw() {
	h.freezing.on.Store(false)
	h.clock.stop(h.cfg.now(), false)
	moved := false
	h.Each(func(c *Conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		moved = moved || c.moved
		c.release()
		return true
	})
	h.frozen.Store(moved) // those whose action still runs must not go on after it
}

// stay takes a connection that ends here out of a move that is under way: what waits is written, and the reader goes on. c.mu is held.
func (m *move) stay() {
	c := m.c
	if m.thaw == nil || m.exported || m.moved {
		return
	}
	close(m.thaw)
	m.thaw = nil
	c.out.held = false
	if !c.out.writing && len(c.out.chunks) > 0 { // a writer notices by itself
		c.out.startWriter()
	}
}

// release lets a frozen connection go on here. c.mu is held.
func (m *move) release() {
	c := m.c
	if m.thaw == nil || m.moved {
		return
	}
	m.settled()
	m.exported = false
	c.out.held = false
	c.sock.thaw()
	if c.out.writing { // it may not have noticed, and still has an end
		_ = c.sock.armWrite(c.hub.cfg.WriteTimeout) // an error shows at the write
	}
	close(m.thaw)
	m.thaw = nil
	if m.late != nil {
		c.closeLocked(m.late.Code, m.late.Reason)
	}
	if len(c.out.chunks) > 0 && !c.out.writing {
		c.out.startWriter()
	}
}

// park is the reader's: it waits while the connection is frozen. moved tells that the connection is no longer here.
func (m *move) park() (moved bool) {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if thaw := m.thaw; thaw != nil && c.state == open {
		m.parked = true
		m.settled()
		c.mu.Unlock()
		<-thaw // bounded by the transfer, which thaws or moves
		c.mu.Lock()
		m.parked = false
	}
	return m.moved
}

// parkBusy waits after an action during which the connection was exported. When it has moved, the reader goes on only to end:
// the next read says so, and what gws has in its buffer is not dispatched here.
func (m *move) parkBusy() {
	c := m.c
	c.mu.Lock()
	thaw := m.thaw
	if !m.exported {
		thaw = nil
	}
	c.mu.Unlock()
	if thaw == nil {
		return
	}
	<-thaw
	if m.hasMoved() {
		panic(errMoved) // through gws, which would dispatch what it has buffered
	}
}

func (m *move) hasMoved() bool {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.moved
}

// Moving tells where the connection is: moved, it is another process's. Where that is not decided, between Export and Release or
// Thaw, undecided is closed at the decision.
func (c *Conn) Moving() (undecided <-chan struct{}, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exported && !c.moved {
		return c.thaw, false
	}
	return nil, c.moved
}

// Left is what has not moved: connections that can, and all that are served here, those too which run an action or write their last
// frames.
func (h *Hub) Left() (movable, inside int) {
	h.Each(func(c *Conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.moved && c.state == open {
			movable++
		}
		return true
	})
	return movable, int(h.inside.Load())
}

// PeerGone closes Done of a connection that has ended in the process to which it has moved.
func (h *Hub) PeerGone(fd int64) {
	if c := h.Get(fd); c != nil {
		c.mu.Lock()
		c.endDone()
		c.mu.Unlock()
	}
}

// Export takes a frozen connection's state. From then on what is sent to it goes to the Mover, too. What else changes it must wait:
// see Moving. again: it is between two messages, ask once more; neither: it ends here.
func (h *Hub) Export(c *Conn, m Mover, data []byte) (s State, ok, again bool) {
	rooms := c.Rooms()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || c.thaw == nil || c.exported {
		return s, false, false
	}
	busy := c.in.where.Load() != listening && c.start == nil
	if !c.parked && !busy || c.out.writing || c.Keeping() {
		return s, false, true
	}
	c.exported, c.mover = true, m
	in, k := &c.in, &h.clock
	in.refill()
	s = State{
		FD: c.FD, Auth: c.Auth, Remote: c.Remote, Since: c.Since, Rooms: rooms, Data: data, Busy: !c.parked, Deflate: c.in.deflate,
		Tokens: in.tokens, LastIn: k.toWall(c.lastIn.Load()), LastPing: k.toWall(c.lastPing.Load()),
		MsgsIn: c.msgsIn.Load(), MsgsOut: c.msgsOut.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		MessageFrom: k.toWall(c.messageFrom.Load()),
	}
	if s.Busy {
		// gws has taken the begin of what follows into its buffer. The reader is in an action, and waits for c.mu after it.
		rest, _ := c.in.br.Peek(c.in.br.Buffered())
		s.In = append(bytes.Clone(rest), in.buf[in.off:]...)
	} else {
		s.In = append(bytes.Clone(in.parts), in.buf[in.ready:]...)
	}
	c.out.export(&s)
	return s, true, false
}

// Release lets go of all exported connections: they are another process's now. left is called for each when its action, too,
// has ended. Those that were not exported go on here.
func (h *Hub) Release(left func(fd int64)) (moved int) {
	h.Each(func(c *Conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.moved: // before, and its action still runs
			return true
		case !c.exported:
			c.release()
			return true
		}
		moved++
		c.moved, c.onLeft = true, left
		c.out.drop()
		close(c.thaw)
		return true
	})
	return moved
}

// leaveMoved is the end of a moved connection in the old process: no close is reported.
func (m *move) leaveMoved() {
	c := m.c
	h := c.hub
	c.mu.Lock()
	m.settled()
	c.endDone()
	c.mu.Unlock()
	c.SettleRooms() // what was published in time goes the way of the connection
	c.leaveAll()
	c.mu.Lock()
	c.sock.close()
	c.mu.Unlock()
	h.remove(c)
	c.in.release()
	m.onLeft(c.FD)
}

// errMoved ends gws's read loop in the old process.
var errMoved = errors.New("connection has moved")

// The requests with which an adopted connection came, as gws sees it. It only reads them.
var (
	plainRequest   = adoptRequest("")
	deflateRequest = adoptRequest("permessage-deflate")
)

func adoptRequest(extensions string) *http.Request {
	return &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Sec-Websocket-Extensions": {extensions},
	}}
}

// Adopt takes over a moved connection. It is in its rooms and can be sent to at once; its frames are read when Begin is called.
func (h *Hub) Adopt(nc Stream, s State, setup func(*Conn) error) (*Conn, error) {
	c := &Conn{Auth: s.Auth, Remote: s.Remote, Since: s.Since, hub: h}
	c.adopted = true
	c.init(s.FD)
	if err := c.sock.init(nc); err != nil {
		return nil, fmt.Errorf("take over the socket of %d: %w", s.FD, err)
	}
	c.since = h.clock.seconds.Load()
	c.in.where.Store(away)
	c.lastIn.Store(h.clock.fromWall(s.LastIn))
	c.lastPing.Store(h.clock.fromWall(s.LastPing))
	c.msgsIn.Store(s.MsgsIn)
	c.msgsOut.Store(s.MsgsOut)
	c.bytesIn.Store(s.BytesIn)
	c.bytesOut.Store(s.BytesOut)
	c.in.deflate = s.Deflate
	c.in.tokens = float64(1 << 30) // what had arrived was counted before
	if len(s.In) > 0 {
		c.in.receive(s.In)
		if c.in.watch(); c.in.timing && s.MessageFrom != 0 {
			c.messageFrom.Store(h.clock.fromWall(s.MessageFrom))
		}
	}
	c.in.tokens = s.Tokens
	if err := setup(c); err != nil {
		return nil, err
	}
	upgrader, request := h.upgrader, plainRequest
	if s.Deflate { // it was negotiated for good, whatever the configuration says now
		upgrader, request = h.deflating(), deflateRequest
	}
	c.in.br = bufio.NewReaderSize((*shim)(c), 64)
	ws, err := upgrader.UpgradeFromConn((*shim)(c), c.in.br, request) // its answer is swallowed
	if err != nil {
		return nil, fmt.Errorf("take over %d: %w", s.FD, err)
	}
	c.mu.Lock()
	c.state = open
	c.start = func() {
		c.in.back(c.since)
		go c.in.loop(ws)
	}
	c.out.held = true // until Begin: the old process may still take it back
	c.out.restore(&s, h.cfg.outbox())
	c.mu.Unlock()
	h.inside.Add(1)
	h.add(c)
	for _, name := range s.Rooms {
		if _, err := c.Join(name); err != nil {
			h.cfg.Log.Warn("room of a moved connection", zap.Int64("fd", c.FD), zap.String("room", name), zap.Error(err))
		}
	}
	return c, nil
}

// Begin makes an adopted connection this process's: what waits for it is written, and with read its frames are dispatched.
// Without, its action still runs in the old process: Begin is called again when it has ended.
func (c *Conn) Begin(read bool) {
	c.mu.Lock()
	c.out.held = false
	if len(c.out.chunks) > 0 && !c.out.writing {
		c.out.startWriter()
	}
	start := c.start
	if read {
		c.start = nil
	}
	c.mu.Unlock()
	if read && start != nil {
		start()
	}
}

// Discard forgets an adopted connection that the old process takes back. The socket lives on there.
func (c *Conn) Discard() {
	c.leaveAll()
	c.mu.Lock()
	c.state = closed
	c.out.drop()
	c.sock.close()
	c.mu.Unlock()
	c.hub.remove(c)
	c.hub.inside.Add(-1)
}

// Deliver queues frames that were sent to the connection in the old process.
func (c *Conn) Deliver(frames []byte, n int, x *wire.Handling) { _ = c.out.send(frames, n, true, x) }
