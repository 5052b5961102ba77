package framework

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
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
//	                                       ←   A, G  answers to what they ask, and whose client has gone
//	E                                      →
//
// The connections belong to the process that takes the claim of their round: the new one when it serves, or finds the old one
// dead; the old one when something fails before. So neither a lost message nor a process that is frozen for a while makes
// both serve, or neither. The version is hub.TransferVersion: a process reads no other.
const (
	msgHello   = 'H'
	msgBatch   = 'B'
	msgTaken   = 'T'
	msgRelay   = 'R' // JSON: []relay
	msgAnswer  = 'A' // JSON: findings
	msgGone    = 'G' // JSON: the connection of an action that still runs in the old process has ended
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

// pipe is the socket between the two processes.
type pipe interface {
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
	w   pipe
	m   *mover

	serving  chan error // what became of a round, as the new process says
	late     int        // rounds that it won and has not said so yet
	listened sync.WaitGroup

	waiting int // connections that have moved and whose action still runs here
	moved   Moved
}

// transfer moves all connections to the process at the other end of w. After an error nothing has moved and everything goes on
// here; otherwise the connections are served there, and it has waited, until ctx ends, for actions that still run here.
func (a *App) transfer(ctx context.Context, w pipe, handed func(moved int)) (Moved, error) {
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
	a.accept.Pause()
	begun := time.Now()
	busy := a.hub.Freeze(settleTime)
	n, err := t.round(a.exportApp)
	if err != nil {
		a.link.Resume()
		a.hub.Thaw()
		a.accept.Resume()
		return t.moved, err
	}
	t.moved.Connections, t.moved.Pause = n, time.Since(begun)
	a.endLife()
	a.link.Detach()
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
		var f ask.Findings
		switch {
		case err != nil:
			err = fmt.Errorf("wait for the new process: %w", err)
		case kind == msgAnswer:
			if err := json.Unmarshal(body, &f); err == nil { // else nobody can be told
				t.m.answered(f)
			}
			continue
		case kind == msgGone:
			var fd int64
			if json.Unmarshal(body, &fd) == nil {
				t.app.hub.PeerGone(fd)
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
		shaking := a.accept.Handshakes()
		movable, inside := a.hub.Left()
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
		if t.waiting == 0 && shaking == 0 && inside == 0 {
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
	for i := range list {
		if r := &list[i]; r.Code != 0 {
			r.Token, r.Mark = a.link.Cursor()
		}
	}
}

// round moves all connections that are frozen here, and what app gives. After an error they are still this process's.
func (t *giving) round(app func(context.Context) ([]byte, error)) (int, error) {
	a := t.app
	if err := t.w.offer(); err != nil {
		return 0, err
	}
	err := t.exportAll(app)
	if err == nil {
		err = t.served()
	}
	if err != nil && t.w.claim() {
		a.link.KeepServing()
		_ = t.w.send(msgAbort, nil, nil) // it may be gone
		return 0, err
	}
	// Without the claim they are served there, whatever became of the answer.
	if err != nil {
		t.late++
	}
	a.nodes.HandOver(t.m)
	a.link.HandedOver()
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
	a.link.HandOver()
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
	t.app.sessions.Export(c, func(state json.RawMessage) { s, ok, again = t.app.hub.Export(c, t.m, state) })
	return s, ok, again
}

// commit is the body of msgCommit.
type commit struct {
	Stored bool            // the store knows everything of these connections
	App    json.RawMessage // exportApp's, in the first round
}

func sendJSON(w pipe, kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.send(kind, body, nil)
}

func expect(w pipe, want byte) error {
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
