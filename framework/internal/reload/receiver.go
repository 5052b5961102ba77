package reload

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/gateway"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/question"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/stream"
	"wsframe/framework/internal/wire"
	"wsframe/library/packed"
)

// receiver is the new process's side of a transfer.
type receiver struct {
	Config
	w       Pipe
	greeted bool // the hello has come
	states  hub.States
	held    map[int64]*held     // by fd: imported connections whose reading has not begun
	peers   []gateway.MovedPeer // of PHP programs; nil once they are served
	state   []byte              // of the gateway
	streams []stream.Moved      // nil once they are served
	pipes   []*os.File          // of their producers
	moved   api.Moved
	serving func() // nil once called

	firstBatch time.Time      // when the first connections came
	sending    sync.Mutex     // several goroutines send
	inquiries  sync.WaitGroup // questions of the old process that wait for a reply
	ended      chan struct{}  // closed at the end
}

// Receive imports and serves the connections that the process at the other end of w moves. After an
// error none is served here. serving is called as soon as they are; actions may still run there.
func Receive(cfg Config, w Pipe, serving func()) (api.Moved, error) {
	t := &receiver{Config: cfg, w: w, held: map[int64]*held{}, serving: serving, ended: make(chan struct{})}
	stop := t.Questions.Forward(t.answer)
	err := t.run()
	stop()
	close(t.ended)
	served := t.serving == nil
	if lost := t.finish(err != nil); lost > 0 {
		t.moved.Notes = append(t.moved.Notes, fmt.Sprintf("%d actions ended with the old worker; their connections were closed with 1012", lost))
	}
	switch {
	case err == nil:
		return t.moved, nil
	case !served:
		return t.moved, err
	}
	t.Log.Error("transfer", zap.Error(err), zap.Int("moved", t.moved.Connections))
	t.moved.Notes = append(t.moved.Notes, err.Error())
	return t.moved, nil
}

func (t *receiver) run() error {
	for {
		limit := time.Duration(0)
		if !t.firstBatch.IsZero() && t.serving != nil {
			limit = roundTime // its clients wait
		}
		kind, body, err := t.w.Receive(limit)
		switch {
		case err != nil && isTimeout(err):
			return fmt.Errorf("wait for the old process: %w", err) // it lives, and takes the claim
		case err != nil && !t.greeted: // there is no claim yet
			return fmt.Errorf("the old process ended before the transfer: %w", err)
		case err != nil && t.w.Claim():
			t.serve(false) // no other process has them any more
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

func (t *receiver) handle(kind byte, body []byte) error {
	if t.greeted == (kind == msgHello) {
		return errNotTransfer
	}
	switch kind {
	case msgHello:
		return t.greet(body)
	case msgBatch:
		if t.firstBatch.IsZero() {
			t.firstBatch = time.Now()
		}
		return t.importBatch(body)
	case msgPeers:
		return t.keepPeers(body)
	case msgStreams:
		return t.keepStreams(body)
	case msgRelay:
		return t.deliverRelays(body)
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

type held struct {
	conn  *hub.Conn
	busy  bool
	begun bool
}

func (t *receiver) greet(body []byte) error {
	switch {
	case len(body) == 0:
		return errNotTransfer
	case body[0] != hub.TransferVersion:
		return fmt.Errorf("%w: the old process writes version %d, this one reads %d", errNotTransfer, body[0], hub.TransferVersion)
	}
	t.greeted = true
	if n, size := binary.Uvarint(body[1:]); size > 0 && n < 1<<24 {
		t.w.Prepare(int(n))
	}
	return t.send(msgReady, nil)
}

func (t *receiver) send(kind byte, body []byte) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.w.Send(kind, body, nil)
}

// reply sends the reply to a question of the old process, which may have ended.
func (t *receiver) reply(f ask.Findings) {
	if body, err := json.Marshal(f); err == nil {
		_ = t.send(msgFindings, body)
	}
}

// answer passes a client's answer on to the old process, which may have ended.
func (t *receiver) answer(a question.Answer) {
	if body, err := json.Marshal(a); err == nil {
		_ = t.send(msgAnswer, body)
	}
}

func (t *receiver) importBatch(body []byte) error {
	states, err := t.states.Decode(body)
	if err != nil {
		return err
	}
	for i := range states {
		s := &states[i]
		socket, err := t.w.Socket()
		if err != nil {
			return fmt.Errorf("descriptor of %d: %w", s.FD, err)
		}
		c, err := t.Hub.Import(socket, *s, func(c *hub.Conn) error {
			var err error
			if c.Data, err = t.Sessions.Import(c, s.Data); err != nil {
				return fmt.Errorf("session of %d: %w", s.FD, err)
			}
			return t.Gateway.Imported(c)
		})
		if err != nil {
			_ = socket.Close()
			return err
		}
		t.Port.Reserve(c.Remote)
		t.held[s.FD] = &held{conn: c, busy: s.Busy}
	}
	return nil
}

// keepPeers keeps connections of PHP programs until they are served.
func (t *receiver) keepPeers(body []byte) error {
	r := packed.NewReader(body)
	if state := r.Bytes(); len(state) > 0 {
		t.state = state
	}
	for r.More() {
		state := r.Bytes()
		file, err := t.w.File()
		if err != nil {
			return fmt.Errorf("descriptor of a connection of PHP: %w", err)
		}
		t.peers = append(t.peers, gateway.MovedPeer{File: file, State: state})
	}
	return r.Err()
}

// keepStreams keeps streams until their clients are served.
func (t *receiver) keepStreams(body []byte) error {
	m, err := stream.Decode(body)
	if err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	t.streams = append(t.streams, m)
	for range m.Pipes {
		file, err := t.w.File()
		if err != nil {
			return fmt.Errorf("descriptor of a stream: %w", err)
		}
		t.pipes = append(t.pipes, file)
	}
	return nil
}

func (t *receiver) commit(body []byte) error {
	var c commit
	if err := json.Unmarshal(body, &c); err != nil {
		return err
	}
	takeOver := func() {}
	if t.serving != nil {
		var err error
		if takeOver, err = t.importWorker(c.App); err != nil {
			return err
		}
	}
	if !t.w.Claim() { // nor may anything be sent in the old process's name then
		return errTakenBack
	}
	takeOver()
	t.serve(c.Stored)
	_ = t.send(msgServing, nil) // they belong to this process even if that is lost
	return nil
}

// importWorker prepares to continue where the previous worker stopped. takeOver does it; until then
// others see nothing of it.
func (t *receiver) importWorker(raw []byte) (takeOver func(), err error) {
	var state workerState
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &state); err != nil {
			return nil, fmt.Errorf("state of the previous worker: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.Timeout)
	defer cancel()
	adopt, err := t.Link.Adopt(ctx, state.Bus)
	if err != nil {
		return nil, err
	}
	return func() { adopt(t.Timeout) }, nil
}

// watchEnd notifies the old process when a connection ends whose action still runs there.
func (t *receiver) watchEnd(c *hub.Conn) {
	select {
	case <-c.Done():
		if body, err := json.Marshal(c.FD); err == nil {
			_ = t.send(msgGone, body) // the old process may have ended
		}
	case <-t.ended:
	}
}

// serve begins to serve the imported connections. stored means that Redis knows all of them
// already.
func (t *receiver) serve(stored bool) {
	t.Start()
	for fd, h := range t.held {
		if h.begun {
			continue
		}
		h.begun = true
		t.moved.Connections++
		if stored {
			t.Node.Adopted(fd)
		} else {
			t.Node.Opened(session.Entry(h.conn, h.conn.Rooms()))
		}
		h.conn.Begin(!h.busy)
		t.Sessions.Begin(h.conn)
		if h.busy {
			go t.watchEnd(h.conn)
		}
		if !h.busy {
			delete(t.held, fd)
		}
	}
	if t.serving != nil {
		t.Gateway.Import(t.peers, t.state)
		t.Streams.Import(t.streams, t.pipes)
		t.peers, t.state, t.streams, t.pipes = nil, nil, nil, nil
		if !t.firstBatch.IsZero() {
			t.moved.Pause = time.Since(t.firstBatch)
		}
		t.serving()
		t.serving = nil
	}
}

// finish begins to read from connections whose action did not end, and discards those that were not
// claimed. died means that the actions ended with the old process: no reply would come, so their
// connections are closed and clients ask again. It returns how many were closed.
func (t *receiver) finish(died bool) (lost int) {
	t.inquiries.Wait() // each has its own time limit
	for _, p := range t.peers {
		_ = p.File.Close()
	}
	for _, p := range t.pipes {
		_ = p.Close()
	}
	for fd, h := range t.held {
		if h.begun {
			h.conn.Begin(true)
			if died {
				lost++
				hub.CloseAfter([]*hub.Conn{h.conn}, wire.CloseRestart, "server reloads")
			}
		} else {
			h.conn.Discard()
			t.Port.Release(h.conn.Remote)
		}
		delete(t.held, fd)
	}
	return lost
}

// closeAfterBus closes a moved connection after everything that the old process had sent on the
// bus: messages that it has left to this process, and later ones.
func (t *receiver) closeAfterBus(c *hub.Conn, r *relayed) {
	t.Link.AfterOwn(t.Timeout, func() {
		t.Link.After(r.Token, r.Cursor, t.Timeout, func() { hub.CloseAfter([]*hub.Conn{c}, r.Code, r.Reason) })
	})
}

func (t *receiver) deliverRelays(body []byte) error {
	var list []relayed
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	for i := range list {
		r := &list[i]
		var x *wire.Handling
		if r.Class != wire.NeverDrop {
			x = &wire.Handling{Class: r.Class, Key: r.Key}
		}
		for _, fd := range r.FDs {
			c := t.Hub.Get(fd)
			switch {
			case c == nil:
			case r.Code != 0:
				t.closeAfterBus(c, r)
			default:
				c.Deliver(r.Frames, r.N, x)
			}
		}
		if r.Ask != nil {
			t.Nodes.Inquire(r.Ask, &t.inquiries, t.reply)
		}
	}
	return nil
}
