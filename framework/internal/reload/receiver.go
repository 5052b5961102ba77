package reload

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// receiver is the new process's side of a transfer.
type receiver struct {
	Config
	w       Pipe
	greeted bool // the old process has said what it writes
	states  hub.States
	held    map[int64]*adopted
	begun   time.Time // when the first connections came
	moved   api.Moved
	serving func() // nil once called

	sending sync.Mutex     // answers come from several goroutines
	asked   sync.WaitGroup // answers that wait for somebody
	over    chan struct{}  // closed at the end
}

// Receive takes over what the process at the other end of w moves. An error means that nothing was
// taken over. serving is called as soon as the connections are served here; actions may still run there.
func Receive(cfg Config, w Pipe, serving func()) (api.Moved, error) {
	t := &receiver{Config: cfg, w: w, held: map[int64]*adopted{}, serving: serving, over: make(chan struct{})}
	err := t.run()
	close(t.over)
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
		if !t.begun.IsZero() && t.serving != nil {
			limit = roundTime // its clients wait
		}
		kind, body, err := t.w.Receive(limit)
		switch {
		case err != nil && isTimeout(err):
			return fmt.Errorf("wait for the old process: %w", err) // it lives, and claims what it still has
		case err != nil && !t.greeted: // nobody has said yet who claims what
			return fmt.Errorf("the old process ended before the transfer: %w", err)
		case err != nil && t.w.Claim():
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

func (t *receiver) handle(kind byte, body []byte) error {
	if t.greeted == (kind == msgHello) {
		return errNotTransfer
	}
	switch kind {
	case msgHello:
		return t.greet(body)
	case msgBatch:
		if t.begun.IsZero() {
			t.begun = time.Now()
		}
		return t.batch(body)
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
	return t.send(msgTaken, nil)
}

func (t *receiver) send(kind byte, body []byte) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.w.Send(kind, body, nil)
}

// answer tells the old process what it has asked. It is of no use to it if that fails.
func (t *receiver) answer(f ask.Findings) {
	if body, err := json.Marshal(f); err == nil {
		_ = t.send(msgAnswer, body)
	}
}

func (t *receiver) batch(body []byte) error {
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
			return nil
		})
		if err != nil {
			_ = socket.Close()
			return err
		}
		t.Port.Reserve(c.Remote)
		t.held[s.FD] = &adopted{conn: c, busy: s.Busy}
	}
	return nil
}

func (t *receiver) commit(body []byte) error {
	var c commit
	if err := json.Unmarshal(body, &c); err != nil {
		return err
	}
	goOn := func() {}
	if t.serving != nil {
		var err error
		if goOn, err = t.importWorker(c.App); err != nil {
			return err
		}
	}
	if !t.w.Claim() { // nor may anything be said in the old process's name then
		return errTakenBack
	}
	goOn()
	t.begin(c.Stored)
	_ = t.send(msgServing, nil) // they are this process's also where nobody hears it
	return nil
}

// importWorker prepares to go on where the previous worker stopped. That is so when goOn is called;
// before, nothing can be seen of it.
func (t *receiver) importWorker(raw []byte) (goOn func(), err error) {
	var state workerState
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &state); err != nil {
			return nil, fmt.Errorf("state of the previous worker: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.Timeout)
	defer cancel()
	takeOver, err := t.Link.Adopt(ctx, state.Bus)
	if err != nil {
		return nil, err
	}
	return func() { takeOver(t.Timeout) }, nil
}

// watch has the old process hear of the end of a connection whose action still runs there.
func (t *receiver) watch(c *hub.Conn) {
	select {
	case <-c.Done():
		if body, err := json.Marshal(c.FD); err == nil {
			_ = t.send(msgGone, body) // it may be gone
		}
	case <-t.over:
	}
}

// begin serves what is held. stored tells that the store knows it already.
func (t *receiver) begin(stored bool) {
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
			go t.watch(h.conn)
		}
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
// process's. Died means that the actions ended with that process: their clients would wait for an answer, so they are closed,
// and ask again. It returns how many.
func (t *receiver) finish(died bool) (lost int) {
	t.asked.Wait() // as long as a question takes
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

// closeRelayed closes a moved connection behind what the old process had sent: what it has left to
// this one, and what it has said since.
func (t *receiver) closeRelayed(c *hub.Conn, r *relayed) {
	t.Link.AfterOwn(t.Timeout, func() {
		t.Link.After(r.Token, r.Mark, t.Timeout, func() { hub.CloseAfter([]*hub.Conn{c}, r.Code, r.Reason) })
	})
}

func (t *receiver) deliver(body []byte) error {
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
				t.closeRelayed(c, r)
			default:
				c.Deliver(r.Frames, r.N, x)
			}
		}
		if r.Ask != nil {
			t.Nodes.Inquire(r.Ask, &t.asked, t.answer)
		}
	}
	return nil
}
