package framework

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/hub"
)

// Moved tells what a transfer did.
type Moved struct {
	Connections int
	Pause       time.Duration // from the freeze until the new process serves
	Notes       []string
}

// The messages of a transfer. Each is a kind, a length and a body.
//
//	old                                        new
//	H  version, number, claims' descriptor →   makes room
//	                                       ←   T
//	B  States, their descriptors           →   adopts, reads nothing yet
//	R  frames sent to them meanwhile       →   queues them
//	C  what belongs to the whole App       →   claims them, S, serves
//	R, D  what their last actions do       →
//	E                                      →
//
// The connections belong to the process that takes the claim of their round: the new one when it serves, or finds the old one
// dead; the old one when something fails before. So neither a lost message nor a process that is frozen for a while makes
// both serve, or neither. In version 1, which is still read, there are no H and no claim, bodies are JSON, and each B waits for a T.
const (
	msgHello   = 'H'
	msgBatch   = 'B'
	msgTaken   = 'T'
	msgRelay   = 'R' // JSON
	msgCommit  = 'C'
	msgServing = 'S'
	msgDone    = 'D' // JSON: actions of these connections have ended
	msgAbort   = 'X' // the old process goes on with what is not claimed
	msgEnd     = 'E'
)

const (
	batchSize  = 100                   // descriptors in a message; the kernel takes 253
	settleTime = 20 * time.Millisecond // for running actions to end before the move; later ones end in the old process
	storeTime  = 20 * time.Millisecond // for the store to learn what happened last before the move
	roundTime  = 5 * time.Second       // for one step of the other process, while clients wait
)

// relay is something that the old process still has for moved connections.
type relay struct {
	FDs    []int64
	Frames []byte `json:",omitempty"`
	N      int    `json:",omitempty"`
	Code   int    `json:",omitempty"` // a close
	Reason string `json:",omitempty"`

	Token string   `json:",omitempty"` // of a close: what this sender had sent before comes first
	Mark  bus.Mark `json:",omitempty"`
}

// mover collects relays; the transfer sends them on. Bounded by what the old process may still say: its running actions, and
// whatever timers publish while it ends.
type mover struct {
	mu      sync.Mutex
	relays  []relay
	done    []int64
	changed chan struct{}
}

func (m *mover) Relay(fd int64, frames []byte, n int, shared bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A fan-out gives the same frame to many.
	if last := len(m.relays) - 1; last >= 0 && len(frames) > 0 && len(m.relays[last].Frames) == len(frames) && &m.relays[last].Frames[0] == &frames[0] {
		m.relays[last].FDs = append(m.relays[last].FDs, fd)
		return
	}
	if !shared {
		frames = append([]byte(nil), frames...)
	}
	m.add(relay{FDs: []int64{fd}, Frames: frames, N: n})
}

func (m *mover) RelayClose(fd int64, code int, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(relay{FDs: []int64{fd}, Code: code, Reason: reason})
}

func (m *mover) left(fd int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = append(m.done, fd)
	m.wake()
}

func (m *mover) add(r relay) {
	m.relays = append(m.relays, r)
	m.wake()
}

func (m *mover) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *mover) take() (relays []relay, done []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	relays, done, m.relays, m.done = m.relays, m.done, nil, nil
	return relays, done
}

// wire is the socket between the two processes.
type wire interface {
	// send passes a message on, and the descriptors of conns.
	send(kind byte, body []byte, conns []*hub.Conn) error
	// receive waits for the next message; limit 0 is until the transfer's context ends.
	receive(limit time.Duration) (kind byte, body []byte, err error)
	// socket is the next descriptor that came with a batch.
	socket() (*net.TCPConn, error)

	hello(body []byte) error // old: the first message, and where the claims lie
	prepare(n int)           // new: makes room for so many descriptors; an error would show later
	offer() error            // old, once a round: puts the claim there
	claim() bool             // takes it; of both processes one gets it
}

// transfer moves all connections to the process at the other end of w. After an error nothing has moved and everything goes on
// here; otherwise the connections are served there, and it has waited, until ctx ends, for actions that still run here.
func (a *App) transfer(ctx context.Context, w wire, handed func(moved int)) (r Moved, err error) {
	hello := binary.AppendUvarint([]byte{hub.TransferVersion}, uint64(a.hub.Len()))
	if err := w.hello(hello); err != nil {
		return r, fmt.Errorf("greet the new process: %w", err)
	}
	if err := expect(w, msgTaken); err != nil {
		return r, err
	}
	m := &mover{changed: make(chan struct{}, 1)}
	a.pauseAccepting()
	begun := time.Now()
	busy := a.hub.Freeze(settleTime)
	n, err := a.moveRound(w, m, a.exportApp)
	if err != nil {
		a.resumeApp()
		a.hub.Thaw()
		a.resumeAccepting()
		return r, err
	}
	r.Connections, r.Pause = n, time.Since(begun)
	a.endLife()
	a.handedApp()
	a.node.Handed()
	handed(n)
	if busy > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d actions were still running; their connections moved and waited for them", busy))
	}
	// What runs on here: actions, and handshakes that had begun.
	waiting := n
	for {
		relays, done := m.take()
		waiting -= len(done)
		if len(relays) > 0 {
			a.markCloses(relays)
			err = sendJSON(w, msgRelay, relays)
		}
		if err == nil && len(done) > 0 {
			err = sendJSON(w, msgDone, done)
		}
		if err != nil {
			r.Notes = append(r.Notes, "the new worker ended: "+err.Error())
			return r, nil
		}
		if len(relays) > 0 || len(done) > 0 {
			continue
		}
		shaking := a.shaking.Load()
		if a.hub.Len() > waiting {
			a.hub.Freeze(settleTime)
			late, err := a.moveRound(w, m, func(context.Context) ([]byte, error) { return nil, nil })
			if err != nil {
				a.hub.Thaw()
				r.Notes = append(r.Notes, "late connections stay here: "+err.Error())
				return r, nil
			}
			r.Connections += late
			waiting += late
			continue
		}
		if waiting == 0 && shaking == 0 {
			break
		}
		select {
		case <-m.changed:
		case <-time.After(20 * time.Millisecond): // handshakes
		case <-ctx.Done():
			r.Notes = append(r.Notes, fmt.Sprintf("%d actions outlived the limit; their answers are lost: %s", waiting, a.running()))
			_ = w.send(msgEnd, nil, nil)
			return r, nil
		}
	}
	if err := w.send(msgEnd, nil, nil); err != nil {
		r.Notes = append(r.Notes, "the new worker ended: "+err.Error())
	}
	return r, nil
}

// markCloses has closes come behind what this process has sent meanwhile, which the new one gets over the bus.
func (a *App) markCloses(list []relay) {
	b := a.bus.Load()
	for i := range list {
		if r := &list[i]; r.Code != 0 && b != nil {
			r.Token, r.Mark = b.Token(), b.Mark()
		}
	}
}

// moveRound moves all connections that are frozen here, and what app gives. After an error they are still this process's.
func (a *App) moveRound(w wire, m *mover, app func(context.Context) ([]byte, error)) (int, error) {
	if err := w.offer(); err != nil {
		return 0, err
	}
	passed := a.passed.Load()
	err := a.exportAll(w, m, app)
	if err == nil {
		err = expect(w, msgServing)
	}
	if err != nil && w.claim() {
		a.passed.Store(passed)
		_ = w.send(msgAbort, nil, nil) // it may be gone
		return 0, err
	}
	// Without the claim they are served there, whatever became of the answer.
	return a.hub.Release(m.left), nil
}

func (a *App) exportAll(w wire, m *mover, app func(context.Context) ([]byte, error)) error {
	// Both may wait for the store: at the same time as the connections go over.
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	stored, state := make(chan error, 1), make(chan error, 1)
	var c commit
	go func() { stored <- a.node.Flush(ctx) }()
	go func() {
		var err error
		c.App, err = app(ctx)
		state <- err
	}()
	err := a.exportConns(w, m)
	if failed := <-state; err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	// What is published here from now on waits, and is told to the new process behind what has been.
	a.passed.Store(true)
	a.hub.SettleRooms()
	if relays, _ := m.take(); len(relays) > 0 {
		if err := sendJSON(w, msgRelay, relays); err != nil {
			return err
		}
	}
	time.AfterFunc(storeTime, cancel)
	c.Stored = <-stored == nil
	return sendJSON(w, msgCommit, c)
}

func (a *App) exportConns(w wire, m *mover) error {
	var body []byte
	var conns []*hub.Conn
	flush := func() (err error) {
		if len(conns) > 0 {
			if err = w.send(msgBatch, body, conns); err != nil {
				err = fmt.Errorf("hand connections over: %w", err)
			}
		}
		body, conns = body[:0], conns[:0]
		return err
	}
	var err error
	a.hub.Each(func(c *hub.Conn) bool {
		if s, ok := a.export(c, m); ok {
			body, conns = s.Append(body), append(conns, c)
		}
		if len(conns) == batchSize {
			err = flush()
		}
		return err == nil
	})
	if err == nil {
		err = flush()
	}
	return err
}

// export waits for a connection that is between two messages.
func (a *App) export(c *hub.Conn, m *mover) (hub.State, bool) {
	for try := 0; ; try++ {
		s, ok, again := a.hub.Export(c, m, exportSession(c))
		if !again || try == 500 {
			return s, ok // what does not move now is the next round's
		}
		time.Sleep(time.Millisecond)
	}
}

// commit is the body of msgCommit.
type commit struct {
	Stored bool            // the store knows everything of these connections
	App    json.RawMessage // exportApp's, in the first round
}

func sendJSON(w wire, kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.send(kind, body, nil)
}

func expect(w wire, want byte) error {
	kind, _, err := w.receive(roundTime)
	if err != nil {
		return fmt.Errorf("wait for the new process: %w", err)
	}
	if kind != want {
		return fmt.Errorf("the new process answered %q, wanted %q", kind, want)
	}
	return nil
}

// adoption is the new process's side of a transfer.
type adoption struct {
	app     *App
	w       wire
	version int // of the messages
	states  hub.States
	held    map[int64]*adopted
	begun   time.Time // when the first connections came
	moved   Moved
	serving func() // nil once called
}

var (
	errTakenBack = errors.New("the old process took its connections back")
	errWire      = errors.New("not a transfer")
)

// adopt takes over what the process at the other end of w moves. An error means that nothing was taken over.
func (a *App) adopt(w wire, serving func()) (Moved, error) {
	t := &adoption{app: a, w: w, version: 1, held: map[int64]*adopted{}, serving: serving}
	err := t.run()
	served := t.serving == nil
	t.finish()
	switch {
	case err == nil:
		return t.moved, nil
	case !served:
		return t.moved, err
	}
	a.log.Error("transfer", zap.Error(err), zap.Int("moved", t.moved.Connections))
	t.moved.Notes = append(t.moved.Notes, err.Error())
	return t.moved, nil
}

func (t *adoption) run() error {
	for {
		limit := time.Duration(0)
		if !t.begun.IsZero() && t.serving != nil {
			limit = roundTime // its clients wait
		}
		kind, body, err := t.w.receive(limit)
		switch {
		case err != nil && isTimeout(err):
			return fmt.Errorf("wait for the old process: %w", err) // it lives, and claims what it still has
		case err != nil && t.version == 1 && len(t.held) == 0: // nobody has said yet who claims what
			return fmt.Errorf("the old process ended before the transfer: %w", err)
		case err != nil && t.claim():
			t.begin(false) // whatever has come over is only here now
			return fmt.Errorf("the old process ended in the middle of the transfer: %w", err)
		case err != nil && t.serving == nil:
			return fmt.Errorf("the old process ended before its last actions: %w", err)
		case err != nil:
			return errTakenBack
		case kind == msgAbort:
			return errTakenBack
		case kind == msgEnd:
			return nil
		}
		if err := t.handle(kind, body); err != nil {
			return err
		}
	}
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func (t *adoption) handle(kind byte, body []byte) error {
	switch kind {
	case msgHello:
		return t.greet(body)
	case msgBatch:
		if t.begun.IsZero() {
			t.begun = time.Now()
		}
		if err := t.batch(body); err != nil || t.version > 1 {
			return err
		}
		return t.w.send(msgTaken, nil, nil)
	case msgRelay:
		return t.app.deliver(body)
	case msgCommit:
		return t.commit(body)
	case msgDone:
		var fds []int64
		if err := json.Unmarshal(body, &fds); err != nil {
			return err
		}
		for _, fd := range fds {
			if h := t.held[fd]; h != nil {
				h.conn.Begin(true)
				delete(t.held, fd)
			}
		}
	}
	return nil
}

type adopted struct {
	conn  *hub.Conn
	busy  bool
	begun bool
}

func (t *adoption) greet(body []byte) error {
	if len(body) == 0 || body[0] != hub.TransferVersion || len(t.held) > 0 {
		return errWire
	}
	t.version = int(body[0])
	if n, size := binary.Uvarint(body[1:]); size > 0 && n < 1<<24 {
		t.w.prepare(int(n))
	}
	return t.w.send(msgTaken, nil, nil)
}

func (t *adoption) batch(body []byte) error {
	states, err := t.states.Decode(body, t.version)
	if err != nil {
		return err
	}
	for i := range states {
		s := &states[i]
		tcp, err := t.w.socket()
		if err != nil {
			return fmt.Errorf("descriptor of %d: %w", s.FD, err)
		}
		c, err := t.app.hub.Adopt(tcp, *s, func(c *hub.Conn) error {
			var err error
			if c.Data, err = t.app.importSession(c, s.Data); err != nil {
				return fmt.Errorf("session of %d: %w", s.FD, err)
			}
			return nil
		})
		if err != nil {
			_ = tcp.Close()
			return err
		}
		t.app.admitted.Add(1)
		t.app.refusals.entered(c.Remote)
		t.held[s.FD] = &adopted{conn: c, busy: s.Busy}
	}
	return nil
}

func (t *adoption) commit(body []byte) error {
	var c commit
	if t.version > 1 {
		if err := json.Unmarshal(body, &c); err != nil {
			return err
		}
	}
	if t.serving != nil {
		if err := t.app.adoptApp(c.App); err != nil {
			return err
		}
	}
	if !t.claim() {
		return errTakenBack
	}
	t.begin(c.Stored)
	_ = t.w.send(msgServing, nil, nil) // they are this process's also where nobody hears it
	return nil
}

// claim tells whether what is held is this process's from now on. In version 1 nobody disputes it.
func (t *adoption) claim() bool { return t.version < 2 || t.w.claim() }

// begin serves what is held. stored tells that the store knows it already.
func (t *adoption) begin(stored bool) {
	a := t.app
	for fd, h := range t.held {
		if h.begun {
			continue
		}
		h.begun = true
		t.moved.Connections++
		if stored {
			a.node.Adopted(fd)
		} else {
			a.node.Opened(a.entry(h.conn, h.conn.Rooms()))
		}
		h.conn.Begin(!h.busy)
		if !h.busy {
			delete(t.held, fd)
		}
	}
	if t.serving != nil {
		if !t.begun.IsZero() {
			t.moved.Pause = time.Since(t.begun)
		}
		t.serving()
		t.serving = nil
	}
}

// finish reads from connections whose action in the old process will not end any more, and forgets those that are not this
// process's.
func (t *adoption) finish() {
	for fd, h := range t.held {
		if h.begun {
			h.conn.Begin(true)
		} else {
			h.conn.Discard()
			t.app.left(h.conn.Remote)
		}
		delete(t.held, fd)
	}
}

// closeRelayed closes a moved connection behind what the old process had sent: what it has left to this one, and what it has said since.
func (a *App) closeRelayed(c *hub.Conn, r *relay) {
	var token string
	var own bus.Mark
	if b := a.bus.Load(); b != nil {
		token, own = b.Token(), b.Mark()
	}
	a.behind(token, own, func() {
		a.behind(r.Token, r.Mark, func() { hub.CloseBehind([]*hub.Conn{c}, r.Code, r.Reason) })
	})
}

func (a *App) deliver(body []byte) error {
	var list []relay
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	for _, r := range list {
		for _, fd := range r.FDs {
			c := a.hub.Get(fd)
			switch {
			case c == nil:
			case r.Code != 0:
				a.closeRelayed(c, &r)
			default:
				c.Deliver(r.Frames, r.N)
			}
		}
	}
	return nil
}
