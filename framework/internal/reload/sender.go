package reload

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"wsframe/framework/api"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
)

const (
	batchSize  = 100                   // descriptors in a message; the kernel takes 253
	batchBytes = 256 << 10             // or so much of states: what waits for slow clients travels, too
	settleTime = 20 * time.Millisecond // for running actions to end before the move; later ones end in the old process
	storeTime  = 20 * time.Millisecond // for the store to learn what happened last before the move
)

// sender is the old process's side of a transfer.
type sender struct {
	Config
	w Pipe
	m *relay

	serving  chan error // what became of a round, as the new process says
	late     int        // rounds that it won and has not said so yet
	listened sync.WaitGroup

	waiting int // connections that have moved and whose action still runs here
	moved   api.Moved
}

// Send moves all connections to the process at the other end of w. After an error nothing has moved
// and everything goes on here. Else handed is called as soon as they are served there, and Send waits,
// until ctx ends, for actions that still run here.
func Send(ctx context.Context, cfg Config, w Pipe, handed func(moved int)) (api.Moved, error) {
	hello := binary.AppendUvarint([]byte{hub.TransferVersion}, uint64(cfg.Hub.Len()))
	if err := w.Hello(hello); err != nil {
		return api.Moved{}, fmt.Errorf("greet the new process: %w", err)
	}
	if err := expect(w, msgTaken); err != nil {
		return api.Moved{}, err
	}
	t := &sender{Config: cfg, w: w, m: newRelay(), serving: make(chan error, 1)}
	t.listened.Go(t.listen)
	defer t.listened.Wait()
	defer w.HangUp()
	defer t.m.close()
	t.Port.Pause()
	begun := time.Now()
	busy := t.Hub.Freeze(settleTime)
	n, err := t.round(t.exportWorker)
	if err != nil {
		t.Link.Resume()
		t.Hub.Thaw()
		t.Port.Resume()
		return t.moved, err
	}
	t.moved.Connections, t.moved.Pause = n, time.Since(begun)
	t.End()
	t.Link.Detach()
	t.Node.Handed()
	handed(n)
	if busy > 0 {
		t.note("%d actions were still running; their connections moved and waited for them", busy)
	}
	return t.moved, t.rest(ctx)
}

func (t *sender) note(format string, args ...any) {
	t.moved.Notes = append(t.moved.Notes, fmt.Sprintf(format, args...))
}

// listen takes what the new process says.
func (t *sender) listen() {
	for {
		kind, body, err := t.w.Receive(0)
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
				t.Hub.PeerGone(fd)
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
func (t *sender) served() error {
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
func (t *sender) rest(ctx context.Context) error {
	for {
		passed, err := t.pass()
		if err != nil {
			t.note("the new worker ended: %v", err)
			return nil
		}
		if passed {
			continue
		}
		shaking := t.Port.Handshakes()
		movable, inside := t.Hub.Remaining()
		if movable > 0 {
			t.Hub.Freeze(settleTime)
			late, err := t.round(func(context.Context) ([]byte, error) { return nil, nil })
			if err != nil {
				t.Hub.Thaw()
				t.note("late connections stay here: %v", err)
				return nil
			}
			if t.moved.Connections += late; late > 0 {
				continue
			}
		}
		if t.waiting == 0 && shaking == 0 && inside == 0 {
			return t.w.Send(msgEnd, nil, nil)
		}
		select {
		case <-t.m.changed:
		case <-time.After(20 * time.Millisecond): // handshakes, and what ends by itself
		case <-ctx.Done():
			if t.waiting > 0 {
				t.note("%d actions outlived the limit; their answers are lost: %s", t.waiting, t.Running())
			}
			_ = t.w.Send(msgEnd, nil, nil)
			return nil
		}
	}
}

// pass sends on what there is.
func (t *sender) pass() (passed bool, err error) {
	relays, done := t.m.take()
	t.waiting -= len(done)
	t.markCloses(relays)
	err = sendRelays(t.w, relays)
	if err == nil && len(done) > 0 {
		err = sendJSON(t.w, msgDone, done)
	}
	return len(relays) > 0 || len(done) > 0, err
}

// markCloses has closes come behind what this process has sent meanwhile, which the new one gets over the bus.
func (t *sender) markCloses(list []relayed) {
	for i := range list {
		if r := &list[i]; r.Code != 0 {
			r.Token, r.Mark = t.Link.Cursor()
		}
	}
}

// round moves all connections that are frozen here, and what worker gives. After an error they are still this process's.
func (t *sender) round(worker func(context.Context) ([]byte, error)) (int, error) {
	if err := t.w.Offer(); err != nil {
		return 0, err
	}
	err := t.exportAll(worker)
	if err == nil {
		err = t.served()
	}
	if err != nil && t.w.Claim() {
		t.Link.KeepServing()
		_ = t.w.Send(msgAbort, nil, nil) // it may be gone
		return 0, err
	}
	// Without the claim they are served there, whatever became of the answer.
	if err != nil {
		t.late++
	}
	t.Nodes.HandOver(t.m)
	t.Link.HandedOver()
	n := t.Hub.Release(t.m.left)
	t.waiting += n
	return n, nil
}

func (t *sender) exportAll(worker func(context.Context) ([]byte, error)) error {
	// Both may wait for the store: at the same time as the connections go over.
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	stored, state := make(chan error, 1), make(chan error, 1)
	var c commit
	go func() { stored <- t.Node.Flush(ctx) }()
	go func() {
		var err error
		c.App, err = worker(ctx)
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
	t.Link.HandOver()
	t.Hub.SettleRooms()
	if _, err := t.pass(); err != nil {
		return err
	}
	time.AfterFunc(storeTime, cancel)
	c.Stored = <-stored == nil
	return sendJSON(t.w, msgCommit, c)
}

func (t *sender) exportConns() error {
	var body []byte
	var conns, again []*hub.Conn
	flush := func() (err error) {
		if len(conns) > 0 {
			if err = t.w.Send(msgBatch, body, conns); err != nil {
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
	t.Hub.Each(export)
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

// export takes a connection as it is at one moment. Whatever else would change it waits for the
// session's lock, then for the outcome of the round.
func (t *sender) export(c *hub.Conn) (s hub.State, ok, again bool) {
	t.Sessions.Export(c, func(state json.RawMessage) { s, ok, again = t.Hub.Export(c, t.m, state) })
	return s, ok, again
}

// exportWorker stops reading from the bus, and gives what the next worker goes on with. Link.Resume or
// Link.HandedOver must follow.
func (t *sender) exportWorker(ctx context.Context) ([]byte, error) {
	state, err := t.Link.Suspend(ctx)
	if err != nil {
		return nil, err
	}
	t.GiveUp() // what it tells goes the way of the connections
	return json.Marshal(workerState{Bus: state})
}
