package framework

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

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
//	                                       ←   A  answers to what they ask
//	E                                      →
//
// The connections belong to the process that takes the claim of their round: the new one when it serves, or finds the old one
// dead; the old one when something fails before. So neither a lost message nor a process that is frozen for a while makes
// both serve, or neither. Version 2, which is still read, has no questions in R; in version 1 there are no H and no claim, bodies are
// JSON, and each B waits for a T.
const (
	msgHello   = 'H'
	msgBatch   = 'B'
	msgTaken   = 'T'
	msgRelay   = 'R' // JSON: []relay
	msgAnswer  = 'A' // JSON: findings
	msgCommit  = 'C'
	msgServing = 'S'
	msgDone    = 'D' // JSON: actions of these connections have ended
	msgAbort   = 'X' // the old process goes on with what is not claimed
	msgEnd     = 'E'
)

const (
	batchSize  = 100                   // descriptors in a message; the kernel takes 253
	batchBytes = 256 << 10             // or so much of states: what waits for slow clients travels, too
	settleTime = 20 * time.Millisecond // for running actions to end before the move; later ones end in the old process
	storeTime  = 20 * time.Millisecond // for the store to learn what happened last before the move
	roundTime  = 5 * time.Second       // for one step of the other process, while clients wait
)

// wire is the socket between the two processes.
type wire interface {
	// send passes a message on, and the descriptors of conns.
	send(kind byte, body []byte, conns []*hub.Conn) error
	// receive waits for the next message; limit 0 is until the transfer's context ends, or hangUp.
	receive(limit time.Duration) (kind byte, body []byte, err error)
	hangUp() // nothing is received any more
	// socket is the next descriptor that came with a batch.
	socket() (hub.Stream, error)

	hello(body []byte) error // old: the first message, and where the claims lie
	prepare(n int)           // new: makes room for so many descriptors; an error would show later
	offer() error            // old, once a round: puts the claim there
	claim() bool             // takes it; of both processes one gets it
}

// giving is the old process's side of a transfer.
type giving struct {
	app *App
	w   wire
	m   *mover

	serving  chan error // what became of a round, as the new process says
	late     int        // rounds that it won and has not said so yet
	listened sync.WaitGroup

	waiting int // connections that have moved and whose action still runs here
	moved   Moved
}

// transfer moves all connections to the process at the other end of w. After an error nothing has moved and everything goes on
// here; otherwise the connections are served there, and it has waited, until ctx ends, for actions that still run here.
func (a *App) transfer(ctx context.Context, w wire, handed func(moved int)) (Moved, error) {
	hello := binary.AppendUvarint([]byte{hub.TransferVersion}, uint64(a.hub.Len()))
	if err := w.hello(hello); err != nil {
		return Moved{}, fmt.Errorf("greet the new process: %w", err)
	}
	if err := expect(w, msgTaken); err != nil {
		return Moved{}, err
	}
	t := &giving{app: a, w: w, m: newMover(), serving: make(chan error, 1)}
	t.listened.Go(t.listen)
	defer t.listened.Wait()
	defer w.hangUp()
	defer t.m.close()
	a.pauseAccepting()
	begun := time.Now()
	busy := a.hub.Freeze(settleTime)
	n, err := t.round(a.exportApp)
	if err != nil {
		a.resumeApp()
		a.hub.Thaw()
		a.resumeAccepting()
		return t.moved, err
	}
	t.moved.Connections, t.moved.Pause = n, time.Since(begun)
	a.endLife()
	a.handedApp()
	a.node.Handed()
	handed(n)
	if busy > 0 {
		t.note("%d actions were still running; their connections moved and waited for them", busy)
	}
	return t.moved, t.rest(ctx)
}

func (t *giving) note(format string, args ...any) {
	t.moved.Notes = append(t.moved.Notes, fmt.Sprintf(format, args...))
}

// listen takes what the new process says.
func (t *giving) listen() {
	for {
		kind, body, err := t.w.receive(0)
		var f findings
		switch {
		case err != nil:
			err = fmt.Errorf("wait for the new process: %w", err)
		case kind == msgAnswer:
			if err := json.Unmarshal(body, &f); err == nil { // else nobody can be told
				t.m.answered(f)
			}
			continue
		case kind != msgServing:
			err = unexpected(kind, msgServing)
		}
		select {
		case t.serving <- err:
		default: // nobody has asked
		}
		if err != nil {
			return
		}
	}
}

// served waits until the new process serves what came over.
func (t *giving) served() error {
	limit := time.NewTimer(roundTime)
	defer limit.Stop()
	for {
		select {
		case err := <-t.serving:
			if err == nil && t.late > 0 {
				t.late--
				continue
			}
			return err
		case <-limit.C:
			return fmt.Errorf("wait for the new process: %w", os.ErrDeadlineExceeded)
		}
	}
}

// rest passes on what runs on here, actions and handshakes that had begun, until nothing does or ctx ends.
func (t *giving) rest(ctx context.Context) error {
	a := t.app
	for {
		passed, err := t.pass()
		if err != nil {
			t.note("the new worker ended: %v", err)
			return nil
		}
		if passed {
			continue
		}
		shaking := a.shaking.Load()
		movable, acting := a.hub.Left()
		if movable > 0 {
			a.hub.Freeze(settleTime)
			late, err := t.round(func(context.Context) ([]byte, error) { return nil, nil })
			if err != nil {
				a.hub.Thaw()
				t.note("late connections stay here: %v", err)
				return nil
			}
			if t.moved.Connections += late; late > 0 {
				continue
			}
		}
		if t.waiting == 0 && shaking == 0 && movable == 0 && acting == 0 {
			return t.w.send(msgEnd, nil, nil)
		}
		select {
		case <-t.m.changed:
		case <-time.After(20 * time.Millisecond): // handshakes, and what ends by itself
		case <-ctx.Done():
			if t.waiting > 0 {
				t.note("%d actions outlived the limit; their answers are lost: %s", t.waiting, a.running())
			}
			_ = t.w.send(msgEnd, nil, nil)
			return nil
		}
	}
}

// pass sends on what there is.
func (t *giving) pass() (passed bool, err error) {
	relays, done := t.m.take()
	t.waiting -= len(done)
	t.app.markCloses(relays)
	err = sendRelays(t.w, relays)
	if err == nil && len(done) > 0 {
		err = sendJSON(t.w, msgDone, done)
	}
	return len(relays) > 0 || len(done) > 0, err
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

// round moves all connections that are frozen here, and what app gives. After an error they are still this process's.
func (t *giving) round(app func(context.Context) ([]byte, error)) (int, error) {
	a := t.app
	if err := t.w.offer(); err != nil {
		return 0, err
	}
	passed := a.passed.Load()
	err := t.exportAll(app)
	if err == nil {
		err = t.served()
	}
	if err != nil && t.w.claim() {
		a.passed.Store(passed)
		_ = t.w.send(msgAbort, nil, nil) // it may be gone
		return 0, err
	}
	// Without the claim they are served there, whatever became of the answer.
	if err != nil {
		t.late++
	}
	a.heir.Store(t.m)
	n := a.hub.Release(t.m.left)
	t.waiting += n
	return n, nil
}

func (t *giving) exportAll(app func(context.Context) ([]byte, error)) error {
	a := t.app
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
	err := t.exportConns()
	if failed := <-state; err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	// What is published here from now on waits, and is told to the new process behind what has been.
	a.passed.Store(true)
	a.hub.SettleRooms()
	if _, err := t.pass(); err != nil {
		return err
	}
	time.AfterFunc(storeTime, cancel)
	c.Stored = <-stored == nil
	return sendJSON(t.w, msgCommit, c)
}

func (t *giving) exportConns() error {
	var body []byte
	var conns, again []*hub.Conn
	flush := func() (err error) {
		if len(conns) > 0 {
			if err = t.w.send(msgBatch, body, conns); err != nil {
				err = fmt.Errorf("hand connections over: %w", err)
			}
		}
		body, conns = body[:0], conns[:0]
		return err
	}
	var err error
	export := func(c *hub.Conn) bool {
		s, ok, later := t.export(c)
		if ok {
			body, conns = s.Append(body), append(conns, c)
		}
		if later {
			again = append(again, c)
		}
		if len(conns) == batchSize || len(body) >= batchBytes {
			err = flush()
		}
		return err == nil
	}
	t.app.hub.Each(export)
	// Some are between two messages. What does not move in the end is the next round's.
	for try := 0; err == nil && len(again) > 0 && try < 500; try++ {
		time.Sleep(time.Millisecond)
		list := again
		again = nil
		for _, c := range list {
			if !export(c) {
				break
			}
		}
	}
	if err == nil {
		err = flush()
	}
	return err
}

// export takes a connection as it is at one moment: whatever else would change it waits for the session's lock, then for the
// outcome of the round.
func (t *giving) export(c *hub.Conn) (s hub.State, ok, again bool) {
	session := sessionOf(c)
	session.mu.Lock()
	defer session.mu.Unlock()
	return t.app.hub.Export(c, t.m, exportSession(c))
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
		return unexpected(kind, want)
	}
	return nil
}

func unexpected(kind, want byte) error {
	return fmt.Errorf("the new process answered %q, wanted %q", kind, want)
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

	sending sync.Mutex     // answers come from several goroutines
	asked   sync.WaitGroup // answers that wait for somebody
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
		return t.send(msgTaken, nil)
	case msgRelay:
		return t.deliver(body)
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
	if len(body) == 0 || body[0] < 2 || body[0] > hub.TransferVersion || len(t.held) > 0 {
		return errWire
	}
	t.version = int(body[0])
	if n, size := binary.Uvarint(body[1:]); size > 0 && n < 1<<24 {
		t.w.prepare(int(n))
	}
	return t.send(msgTaken, nil)
}

func (t *adoption) send(kind byte, body []byte) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.w.send(kind, body, nil)
}

// answer tells the old process what it has asked. It is of no use to it if that fails.
func (t *adoption) answer(f findings) {
	if body, err := json.Marshal(f); err == nil {
		_ = t.send(msgAnswer, body)
	}
}

func (t *adoption) batch(body []byte) error {
	states, err := t.states.Decode(body, t.version)
	if err != nil {
		return err
	}
	for i := range states {
		s := &states[i]
		socket, err := t.w.socket()
		if err != nil {
			return fmt.Errorf("descriptor of %d: %w", s.FD, err)
		}
		c, err := t.app.hub.Adopt(socket, *s, func(c *hub.Conn) error {
			var err error
			if c.Data, err = t.app.importSession(c, s.Data); err != nil {
				return fmt.Errorf("session of %d: %w", s.FD, err)
			}
			return nil
		})
		if err != nil {
			_ = socket.Close()
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
	goOn := func() {}
	if t.serving != nil {
		var err error
		if goOn, err = t.app.adoptApp(c.App); err != nil {
			return err
		}
	}
	if !t.claim() { // nor may anything be said in the old process's name then
		return errTakenBack
	}
	goOn()
	t.begin(c.Stored)
	_ = t.send(msgServing, nil) // they are this process's also where nobody hears it
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
	t.asked.Wait() // as long as a question takes
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
	a.afterOwn(true, func() {
		a.behind(r.Token, r.Mark, func() { hub.CloseBehind([]*hub.Conn{c}, r.Code, r.Reason) })
	})
}

func (t *adoption) deliver(body []byte) error {
	var list []relay
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	for i := range list {
		r := &list[i]
		var x *hub.Handling
		if r.Class != hub.NeverDrop {
			x = &hub.Handling{Class: r.Class, Key: r.Key}
		}
		for _, fd := range r.FDs {
			c := t.app.hub.Get(fd)
			switch {
			case c == nil:
			case r.Code != 0:
				t.app.closeRelayed(c, r)
			default:
				c.Deliver(r.Frames, r.N, x)
			}
		}
		if r.Ask != nil {
			t.app.inquire(r.Ask, &t.asked, t.answer)
		}
	}
	return nil
}
