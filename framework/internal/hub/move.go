package hub

import (
	"errors"
	"sync/atomic"
	"time"

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
	if c.state != open || m.moved || c.out.away || !c.hub.freezing.on.Load() {
		return
	}
	if !m.parked && c.in.watched.loop != nil && c.in.watched.turn.claim() {
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

// parkTurn makes the freeze the owner of the turn, which the caller has. false: the connection is
// not frozen, or ends.
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
	w := &m.c.in.watched
	if w.loop == nil || !m.parked {
		return
	}
	m.parked = false
	if !w.turn.release() {
		go w.serve()
	}
}

// awaitExport waits after an action during which the connection was exported. moved reports that
// the connection belongs to the new process.
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
		if !c.moved && !c.out.away && c.state == open {
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
	c.in.closeSocket()
	c.mu.Unlock()
	h.remove(c)
	c.in.release()
	m.onMoved(c.FD)
}

// errMoved unwinds gws's read loop in the old process.
var errMoved = errors.New("connection has moved")
