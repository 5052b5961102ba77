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

// A connection moves to another process of the same server without its client noticing:
//
//	old process                              new process
//	h.Freeze(settle)  readers park
//	h.Export(c)       state, unsent bytes →  h.Import(socket, state)   joins rooms, reads nothing yet
//	c.Send …          relayed             →  c.Deliver
//	h.Release()       sockets are closed  →  c.Begin()                 reads and writes
//
// Until Release the old process keeps everything as well, and Thaw makes it serve on.

// Mover sends frames and closes of exported connections to the new process. Its methods are called
// under locks and must not block.
type Mover interface {
	// Relay is called for frames that are sent to an exported connection. With shared, frames may
	// be retained.
	Relay(fd int64, frames []byte, n int, x *wire.Handling, shared bool)
	// RelayClose is called when an exported connection is to be closed.
	RelayClose(fd int64, code int, reason string)
}

// move is the state of a connection's move to another process. It is guarded by Conn.mu.
type move struct {
	c        *Conn
	imported bool           // came from another process; the response that gws writes is discarded
	since    int64          // time of the import, in seconds of Hub.clock
	start    func()         // starts the reader of an imported connection; nil = it was started
	thaw     chan struct{}  // closed by the end of the freeze; nil = not frozen
	parked   bool           // the reader waits for thaw
	counted  bool           // Freeze waits for the reader
	exported bool           // the new process has a copy, and what is sent is relayed
	moved    bool           // the connection belongs to the new process
	mover    Mover          // of the export
	onMoved  func(fd int64) // called when the last action here has ended
	late     *wire.Close    // a close during the export, which takes effect if the move fails
}

// freezing counts the readers that have not parked yet.
type freezing struct {
	on      atomic.Bool   // new connections are frozen, too
	pending atomic.Int64  // readers that have not parked, and Freeze itself while it counts
	parked  chan struct{} // signalled when pending becomes 0
}

func (f *freezing) done() {
	if f.pending.Add(-1) == 0 {
		select {
		case f.parked <- struct{}{}:
		default:
		}
	}
}

// Freeze parks the readers of all connections: they dispatch what has arrived and read no more. It
// returns when all have parked, or after settle with the number of those whose action still runs.
// What is sent meanwhile waits in the outboxes.
func (h *Hub) Freeze(settle time.Duration) (busy int) {
	f := &h.freezing
	f.pending.Add(1) // no signal before all are counted
	select {
	case <-f.parked: // a signal of the last freeze
	default:
	}
	f.on.Store(true)
	h.clock.stop(h.cfg.now(), true)
	h.frozen.Store(true)
	h.Each(func(c *Conn) bool { c.freeze(true); return true })
	if f.pending.Add(-1) == 0 {
		return 0
	}
	end := time.NewTimer(settle)
	defer end.Stop()
	for f.pending.Load() > 0 {
		select {
		case <-f.parked:
		case <-end.C:
			return int(f.pending.Load())
		}
	}
	return 0
}

// freeze makes the reader park at its next read and holds the writer. With count, Freeze waits for
// the reader.
func (m *move) freeze(count bool) {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || m.moved || !c.hub.freezing.on.Load() {
		return
	}
	if !m.parked && c.in.loop != nil && c.in.turn.CompareAndSwap(turnIdle, turnOwned) {
		m.parked = true // the freeze owns the turn
	}
	if count && !m.parked && !m.counted {
		m.counted = true
		c.hub.freezing.pending.Add(1)
	}
	if m.thaw != nil {
		return
	}
	m.thaw = make(chan struct{})
	c.out.corked = false
	c.out.hold()
	c.sock.freeze()
}

// settled ends Freeze's wait for this reader. c.mu is held.
func (m *move) settled() {
	c := m.c
	if m.counted {
		m.counted = false
		c.hub.freezing.done()
	}
}

// Thaw ends the freeze of all connections that have not moved.
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
	h.frozen.Store(moved) // readers of moved connections must end after their action
}

// stay ends the freeze of a connection that closes before its export: what waits is written, and
// the reader goes on. c.mu is held.
func (m *move) stay() {
	c := m.c
	if m.thaw == nil || m.exported || m.moved {
		return
	}
	close(m.thaw)
	m.thaw = nil
	m.unpark()
	c.out.held = false
	if !c.out.writing && len(c.out.chunks) > 0 { // a running writer goes on by itself
		c.out.startWriter()
	}
}

// release ends the freeze of a connection that stays. c.mu is held.
func (m *move) release() {
	c := m.c
	if m.thaw == nil || m.moved {
		return
	}
	m.settled()
	m.exported = false
	c.out.held = false
	c.sock.thaw()
	if c.out.writing { // a writer that has not noticed the freeze still needs a deadline
		_ = c.sock.armWrite(c.hub.cfg.WriteTimeout) // an error shows at the write
	}
	close(m.thaw)
	m.thaw = nil
	m.unpark()
	if m.late != nil {
		c.closeLocked(m.late.Code, m.late.Reason)
	}
	if len(c.out.chunks) > 0 && !c.out.writing {
		c.out.startWriter()
	}
}

// parkTurn makes the freeze the owner of the turn, which the caller has. false: the connection is not
// frozen, or ends.
func (m *move) parkTurn() bool {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.thaw == nil || m.moved || c.state != open {
		return false
	}
	m.parked = true
	m.settled()
	return true
}

// unpark ends the freeze's ownership of the turn. c.mu is held.
func (m *move) unpark() {
	in := &m.c.in
	if in.loop == nil || !m.parked {
		return
	}
	m.parked = false
	if !in.release() {
		go in.serve()
	}
}

// awaitExport waits after an action during which the connection was exported. moved reports that the
// connection belongs to the new process.
func (m *move) awaitExport() (moved bool) {
	c := m.c
	c.mu.Lock()
	thaw := m.thaw
	if !m.exported || m.parked {
		thaw = nil
	}
	c.mu.Unlock()
	if thaw != nil {
		<-thaw
	}
	return m.hasMoved()
}

// park waits in the reader's goroutine while the connection is frozen. moved reports that the
// connection now belongs to the new process.
func (m *move) park() (moved bool) {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if thaw := m.thaw; thaw != nil && c.state == open {
		m.parked = true
		m.settled()
		c.mu.Unlock()
		<-thaw // bounded by the transfer
		c.mu.Lock()
		m.parked = false
	}
	return m.moved
}

// parkBusy waits after an action during which the connection was exported. If it has moved, a panic
// unwinds gws, which would otherwise dispatch the frames in its buffer.
func (m *move) parkBusy() {
	if m.awaitExport() {
		panic(errMoved)
	}
}

func (m *move) hasMoved() bool {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.moved
}

// Moving reports whether the connection has moved to another process. Between Export and its
// decision by Release or Thaw, undecided is a channel that is closed at the decision.
func (c *Conn) Moving() (undecided <-chan struct{}, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exported && !c.moved {
		return c.thaw, false
	}
	return nil, c.moved
}

// Remaining returns the number of connections that could still move, and the number of all that
// this process serves. The latter includes moved ones that run an action and closed ones that write
// their last frames.
func (h *Hub) Remaining() (movable, inside int) {
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

// PeerGone closes Done of a moved connection that has ended in the new process.
func (h *Hub) PeerGone(fd int64) {
	if c := h.Get(fd); c != nil {
		c.mu.Lock()
		c.endDone()
		c.mu.Unlock()
	}
}

// Export returns the state of a frozen connection. From then on what is sent also goes to the
// Mover, and all other changes wait for the channel of Moving. With again the connection is between
// two messages and the caller tries once more. Without ok and again it ends in this process.
func (h *Hub) Export(c *Conn, m Mover, data []byte) (s State, ok, again bool) {
	rooms := c.Rooms()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || c.thaw == nil || c.exported {
		return s, false, false
	}
	busy := c.in.reader.Load() != readerListening && c.start == nil
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
		// gws has buffered the beginning of what follows. The reader runs an action, and needs c.mu
		// after it.
		if in.br != nil {
			rest, _ := in.br.Peek(in.br.Buffered())
			s.In = bytes.Clone(rest)
		}
		s.In = append(s.In, in.buf[in.off:]...)
	} else {
		s.In = append(bytes.Clone(in.parts), in.buf[in.ready:]...)
	}
	c.out.export(&s)
	return s, true, false
}

// Release gives up all exported connections, which belong to the new process from then on. gone is
// called for each once its action has ended. Connections that were not exported go on here.
func (h *Hub) Release(gone func(fd int64)) (moved int) {
	h.Each(func(c *Conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.moved: // by an earlier Release; the action still runs
			return true
		case !c.exported:
			c.release()
			return true
		}
		moved++
		c.moved, c.onMoved = true, gone
		c.out.drop()
		close(c.thaw)
		if c.parked && c.in.loop != nil {
			go c.in.conclude()
		}
		return true
	})
	return moved
}

// finishMoved ends a moved connection in the old process, without a call of Handler.Closed.
func (m *move) finishMoved() {
	c := m.c
	h := c.hub
	c.mu.Lock()
	m.settled()
	c.endDone()
	c.mu.Unlock()
	c.SettleRooms() // pushes before the move are relayed
	c.leaveAll()
	c.mu.Lock()
	c.in.close()
	c.mu.Unlock()
	h.remove(c)
	c.in.frames.release()
	m.onMoved(c.FD)
}

// errMoved unwinds gws's read loop in the old process.
var errMoved = errors.New("connection has moved")

// Handshake requests that gws is shown for imported connections. They are only read.
var (
	plainRequest   = importRequest("")
	deflateRequest = importRequest("permessage-deflate")
)

func importRequest(extensions string) *http.Request {
	return &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Sec-Websocket-Extensions": {extensions},
	}}
}

// Import makes a Conn of the state and the socket of a moved connection. It is in its rooms, and
// frames can be sent at once, which wait until Begin. setup runs before the connection is
// registered.
func (h *Hub) Import(nc Stream, s State, setup func(*Conn) error) (*Conn, error) {
	c := &Conn{Auth: s.Auth, Remote: s.Remote, Since: s.Since, hub: h}
	c.imported = true
	c.init(s.FD)
	if err := c.sock.init(nc); err != nil {
		return nil, fmt.Errorf("take over the socket of %d: %w", s.FD, err)
	}
	c.since = h.clock.seconds.Load()
	c.in.reader.Store(readerActing)
	c.lastIn.Store(h.clock.fromWall(s.LastIn))
	c.lastPing.Store(h.clock.fromWall(s.LastPing))
	c.msgsIn.Store(s.MsgsIn)
	c.msgsOut.Store(s.MsgsOut)
	c.bytesIn.Store(s.BytesIn)
	c.bytesOut.Store(s.BytesOut)
	c.in.deflate = s.Deflate
	c.in.tokens = float64(1 << 30) // the old process has charged these frames
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
	if s.Deflate { // what was negotiated holds whatever this configuration says
		upgrader, request = h.deflating(), deflateRequest
	}
	c.in.br = bufio.NewReaderSize((*shim)(c), 64)
	ws, err := upgrader.UpgradeFromConn((*shim)(c), c.in.br, request) // discards the response
	if err != nil {
		return nil, fmt.Errorf("take over %d: %w", s.FD, err)
	}
	c.mu.Lock()
	c.state = open
	c.start = func() {
		c.in.endAction(c.since)
		go c.in.start(ws)
	}
	c.out.held = true // until Begin, since the old process may still thaw
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

// Begin starts an imported connection: what waits is written, and with read its frames are
// dispatched. Without read an action still runs in the old process; Begin is called again when that
// has ended.
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

// Discard removes an imported connection that stays in the old process, which also keeps the
// socket.
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

// Deliver queues frames that the old process has relayed.
func (c *Conn) Deliver(frames []byte, n int, x *wire.Handling) { _ = c.out.send(frames, n, true, x) }
