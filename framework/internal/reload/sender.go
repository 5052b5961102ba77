package reload

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"wsframe/framework/api"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/question"
	"wsframe/library/packed"
)

const (
	batchSize  = 100                   // descriptors in a message; the kernel allows 253
	batchBytes = 256 << 10             // of states in a message: unsent frames travel as well
	settleTime = 20 * time.Millisecond // for actions to end before the move
	storeTime  = 20 * time.Millisecond // for Redis to learn of the last changes before the move
)

// sender is the old process's side of a transfer.
type sender struct {
	Config
	w     Pipe
	relay *relay

	serving     chan error // the outcome of a round, as the new process reports it
	unconfirmed int        // rounds that the new process has won without having reported it
	listened    sync.WaitGroup

	peersSent bool // the connections of PHP programs

	actions int // moved connections whose action still runs here
	moved   api.Moved
}

// Send moves all connections to the process at the other end of w. After an error nothing has moved
// and this process continues to serve. Otherwise handed is called as soon as the connections are
// served there, and Send waits, until ctx ends, for actions that still run here.
func Send(ctx context.Context, cfg Config, w Pipe, handed func(moved int)) (api.Moved, error) {
	hello := binary.AppendUvarint([]byte{hub.TransferVersion}, uint64(cfg.Hub.Len()))
	if err := w.Hello(hello); err != nil {
		return api.Moved{}, fmt.Errorf("greet the new process: %w", err)
	}
	if err := expect(w, msgReady); err != nil {
		return api.Moved{}, err
	}
	t := &sender{Config: cfg, w: w, relay: newRelay(), serving: make(chan error, 1)}
	t.listened.Go(t.listen)
	defer t.listened.Wait()
	defer w.HangUp()
	defer t.relay.close()
	t.Port.Pause()
	begun := time.Now()
	t.Gateway.Freeze()
	busy := t.Hub.Freeze(settleTime)
	n, err := t.round(t.exportWorker)
	if err != nil {
		t.Link.Resume()
		t.Hub.Thaw()
		t.Gateway.Thaw()
		t.Streams.Thaw()
		t.Port.Resume()
		return t.moved, err
	}
	t.moved.Connections, t.moved.Pause = n, time.Since(begun)
	t.Gateway.Release()
	t.Streams.Release()
	t.End()
	t.Link.Detach()
	t.Node.Handed()
	handed(n)
	if busy > 0 {
		t.note("%d actions were still running; their connections moved and waited for them", busy)
	}
	err = t.finish(ctx)
	t.moved.Streams, t.moved.StreamDrain = t.Streams.Producing(), t.StreamDrain
	return t.moved, err
}

func (t *sender) note(format string, args ...any) {
	t.moved.Notes = append(t.moved.Notes, fmt.Sprintf(format, args...))
}

// listen receives the messages of the new process.
func (t *sender) listen() {
	for {
		kind, body, err := t.w.Receive(0)
		var f ask.Findings
		switch {
		case err != nil:
			err = fmt.Errorf("wait for the new process: %w", err)
		case kind == msgFindings:
			if err := json.Unmarshal(body, &f); err == nil { // else the question has no reply
				t.relay.resolve(f)
			}
			continue
		case kind == msgAnswer:
			var a question.Answer
			if json.Unmarshal(body, &a) == nil {
				t.Questions.Answer(a)
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
		default: // no round waits
		}
		if err != nil {
			return
		}
	}
}

// served waits until the new process serves what came over.
func (t *sender) awaitServing() error {
	limit := time.NewTimer(roundTime)
	defer limit.Stop()
	for {
		select {
		case err := <-t.serving:
			if err == nil && t.unconfirmed > 0 {
				t.unconfirmed--
				continue
			}
			return err
		case <-limit.C:
			return fmt.Errorf("wait for the new process: %w", os.ErrDeadlineExceeded)
		}
	}
}

// finish forwards what the remaining actions do, and moves connections whose handshake had begun,
// until there are none of both or ctx ends.
func (t *sender) finish(ctx context.Context) error {
	for {
		forwarded, err := t.forward()
		if err != nil {
			t.note("the new worker ended: %v", err)
			return nil
		}
		if forwarded {
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
		if t.actions == 0 && shaking == 0 && inside == 0 {
			return t.w.Send(msgEnd, nil, nil)
		}
		select {
		case <-t.relay.changed:
		case <-time.After(20 * time.Millisecond): // handshakes, and what ends by itself
		case <-ctx.Done():
			if t.actions > 0 {
				t.note("%d actions outlived the limit; their answers are lost: %s", t.actions, t.Running())
			}
			_ = t.w.Send(msgEnd, nil, nil)
			return nil
		}
	}
}

// forward sends what the relay has collected. It reports whether that was anything.
func (t *sender) forward() (forwarded bool, err error) {
	relays, done := t.relay.drain()
	t.actions -= len(done)
	t.addCursors(relays)
	err = sendRelays(t.w, relays)
	if err == nil && len(done) > 0 {
		err = sendJSON(t.w, msgDone, done)
	}
	return len(relays) > 0 || len(done) > 0, err
}

// addCursors makes closes wait for the messages that this process has sent on the bus before them.
func (t *sender) addCursors(list []relayed) {
	for i := range list {
		if r := &list[i]; r.Code != 0 {
			r.Token, r.Cursor = t.Link.Cursor()
		}
	}
}

// round moves all connections that are frozen here, and the state that worker returns. After an
// error they still belong to this process.
func (t *sender) round(worker func(context.Context) ([]byte, error)) (int, error) {
	if err := t.w.Offer(); err != nil {
		return 0, err
	}
	err := t.exportAll(worker)
	if err == nil {
		err = t.awaitServing()
	}
	if err != nil && t.w.Claim() {
		t.Link.KeepServing()
		_ = t.w.Send(msgAbort, nil, nil) // the new process may have ended
		return 0, err
	}
	// The new process has the claim and so serves them, even if its report was lost.
	if err != nil {
		t.unconfirmed++
	}
	t.Nodes.HandOver(t.relay)
	t.Link.HandedOver()
	n := t.Hub.Release(t.relay.actionEnded)
	t.actions += n
	return n, nil
}

func (t *sender) exportAll(worker func(context.Context) ([]byte, error)) error {
	// Both may wait for Redis, so they run while the connections are sent.
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
	if err == nil && !t.peersSent {
		err = errors.Join(t.exportPeers(), t.exportStreams())
	}
	if failed := <-state; err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	// From now on what is published here waits, and is relayed after the earlier frames.
	t.Link.HandOver()
	t.Hub.SettleRooms()
	if _, err := t.forward(); err != nil {
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
	// Some connections are between two messages. One that cannot move now is left to the next
	// round.
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

// exportPeers sends the connections of PHP programs, which the first round moves.
func (t *sender) exportPeers() error {
	peers, state := t.Gateway.Export()
	defer func() {
		for _, p := range peers {
			_ = p.File.Close() // a duplicate
		}
	}()
	t.peersSent = true
	rest := peers
	for first := true; first || len(rest) > 0; first = false {
		if !first {
			state = nil
		}
		body := packed.AppendText(nil, state)
		var files []*os.File
		for len(rest) > 0 && len(files) < batchSize && (len(body) < batchBytes || len(files) == 0) {
			body, files, rest = packed.AppendText(body, rest[0].State), append(files, rest[0].File), rest[1:]
		}
		if err := t.w.SendFiles(msgPeers, body, files); err != nil {
			return fmt.Errorf("hand connections of PHP over: %w", err)
		}
	}
	return nil
}

// exportStreams sends the streams, which the first round moves.
func (t *sender) exportStreams() error {
	list, pipes, err := t.Streams.Export()
	if err != nil {
		return fmt.Errorf("hand streams over: %w", err)
	}
	for _, m := range list {
		body, err := m.Encode()
		if err == nil {
			err = t.w.SendFiles(msgStreams, body, pipes)
		}
		if err != nil {
			return fmt.Errorf("hand streams over: %w", err)
		}
		pipes = nil
	}
	return nil
}

// export returns the state of a connection at one moment. Any other change of it waits for the
// session's lock, then for the outcome of the round.
func (t *sender) export(c *hub.Conn) (s hub.State, ok, again bool) {
	t.Sessions.Export(c, func(state json.RawMessage) { s, ok, again = t.Hub.Export(c, t.relay, state) })
	return s, ok, again
}

// exportWorker leaves the bus and returns the state with which the next worker continues.
// Link.Resume or Link.HandedOver must follow.
func (t *sender) exportWorker(ctx context.Context) ([]byte, error) {
	state, err := t.Link.Suspend(ctx)
	if err != nil {
		return nil, err
	}
	t.GiveUp() // its notifications are relayed with the other frames
	return json.Marshal(workerState{Bus: state})
}
