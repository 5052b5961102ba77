package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
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

// The messages of a transfer, each a kind, a length and JSON.
const (
	msgBatch   = 'B' // old → new: connections, with their descriptors
	msgTaken   = 'T' // new → old: the batch is held
	msgRelay   = 'R' // old → new: frames and closes for connections that were exported
	msgCommit  = 'C' // old → new: all of this round is over there; serve
	msgServing = 'S' // new → old: from here on they are mine
	msgDone    = 'D' // old → new: actions of these connections have ended
	msgAbort   = 'X' // old → new: forget what was not committed
	msgEnd     = 'E' // old → new: nothing more comes
)

const (
	batchSize  = 200                   // descriptors in a message; the kernel takes 253
	settleTime = 20 * time.Millisecond // for running actions to end before the move; later ones end in the old process
)

// relay is something that the old process still has for moved connections.
type relay struct {
	FDs    []int64
	Frames []byte `json:",omitempty"`
	N      int    `json:",omitempty"`
	Code   int    `json:",omitempty"` // a close
	Reason string `json:",omitempty"`
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
	send(kind byte, v any, conns []*hub.Conn) error
	receive() (kind byte, body []byte, err error)
	socket(i int) (*net.TCPConn, error) // of the last batch
}

// transfer moves all connections to the process at the other end of w. After an error nothing has moved and everything goes on
// here; otherwise the connections are served there, and it has waited, until ctx ends, for actions that still run here.
func (a *App) transfer(ctx context.Context, w wire) (r Moved, err error) {
	m := &mover{changed: make(chan struct{}, 1)}
	a.pauseAccepting()
	begun := time.Now()
	busy := a.hub.Freeze(settleTime)
	state, err := a.exportApp(ctx)
	n := 0
	if err == nil {
		n, err = a.moveRound(w, m, state)
	}
	if err != nil {
		_ = w.send(msgAbort, nil, nil) // it may be gone
		a.resumeApp()
		a.hub.Thaw()
		a.resumeAccepting()
		return r, err
	}
	a.handedApp()
	r.Connections, r.Pause = n, time.Since(begun)
	if busy > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d actions were still running; their connections moved and waited for them", busy))
	}
	// What runs on here: actions, and handshakes that had begun.
	waiting := n
	for {
		relays, done := m.take()
		waiting -= len(done)
		if len(relays) > 0 {
			err = w.send(msgRelay, relays, nil)
		}
		if err == nil && len(done) > 0 {
			err = w.send(msgDone, done, nil)
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
			late, err := a.moveRound(w, m, nil)
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
			r.Notes = append(r.Notes, fmt.Sprintf("%d actions outlived the limit; their answers are lost", waiting))
			_ = w.send(msgEnd, nil, nil)
			return r, nil
		}
	}
	return r, w.send(msgEnd, nil, nil)
}

// moveRound moves all connections that are frozen here, and the App's own state with the first.
func (a *App) moveRound(w wire, m *mover, state json.RawMessage) (int, error) {
	var states []hub.State
	var conns []*hub.Conn
	total := 0
	flush := func() error {
		if len(conns) == 0 {
			return nil
		}
		if err := w.send(msgBatch, states, conns); err != nil {
			return fmt.Errorf("hand connections over: %w", err)
		}
		if err := expect(w, msgTaken); err != nil {
			return err
		}
		total += len(conns)
		states, conns = nil, nil
		return nil
	}
	var err error
	a.hub.Each(func(c *hub.Conn) bool {
		for try := 0; ; try++ {
			s, ok, again := a.hub.Export(c, m, exportSession(c))
			if again && try < 500 {
				time.Sleep(time.Millisecond)
				continue
			}
			if ok {
				states, conns = append(states, s), append(conns, c)
			}
			break
		}
		if len(conns) == batchSize {
			err = flush()
		}
		return err == nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return 0, err
	}
	if relays, _ := m.take(); len(relays) > 0 {
		if err := w.send(msgRelay, relays, nil); err != nil {
			return 0, err
		}
	}
	if err := w.send(msgCommit, state, nil); err != nil {
		return 0, err
	}
	if err := expect(w, msgServing); err != nil {
		return 0, err
	}
	return a.hub.Release(m.left), nil
}

func expect(w wire, want byte) error {
	kind, _, err := w.receive()
	if err != nil {
		return fmt.Errorf("wait for the new process: %w", err)
	}
	if kind != want {
		return fmt.Errorf("the new process answered %q, wanted %q", kind, want)
	}
	return nil
}

// adopt takes over what the process at the other end of w moves. An error means that nothing was taken over.
func (a *App) adopt(w wire, serving func()) (r Moved, err error) {
	held := map[int64]*adopted{}
	begun := time.Now()
	committed := false
	for {
		kind, body, err := w.receive()
		if err == nil {
			switch kind {
			case msgBatch:
				err = a.adoptBatch(w, body, held)
			case msgRelay:
				err = a.deliver(body)
			case msgCommit:
				if !committed {
					err = a.adoptApp(body)
				}
				if err == nil {
					err = w.send(msgServing, nil, nil)
				}
				if err == nil {
					r.Connections += a.begin(held)
					if !committed {
						committed, r.Pause = true, time.Since(begun)
						serving()
					}
				}
			case msgDone:
				var fds []int64
				if err = json.Unmarshal(body, &fds); err == nil {
					for _, fd := range fds {
						if h := held[fd]; h != nil {
							h.conn.Begin(true)
							delete(held, fd)
						}
					}
				}
			case msgAbort:
				for _, h := range held {
					if !h.begun {
						h.conn.Discard()
					}
				}
				return r, errors.New("the old process took its connections back")
			case msgEnd:
				a.finishAdoption(held)
				return r, nil
			}
		}
		if err == nil {
			continue
		}
		if !committed && !peerGone(err) {
			// It cannot be taken over here: the old process sees this end close, and goes on.
			for _, h := range held {
				h.conn.Discard()
			}
			return r, err
		}
		// The old process is gone: whatever has come over is only here now.
		a.log.Error("the old process ended in the middle of the transfer", zap.Error(err), zap.Int("held", len(held)))
		r.Connections += a.begin(held)
		a.finishAdoption(held)
		r.Notes = append(r.Notes, "the old process ended in the middle of the transfer")
		return r, nil
	}
}

// peerGone tells whether the process at the other end has ended.
func peerGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

type adopted struct {
	conn  *hub.Conn
	busy  bool
	begun bool
}

func (a *App) adoptBatch(w wire, body []byte, held map[int64]*adopted) error {
	var states []hub.State
	if err := json.Unmarshal(body, &states); err != nil {
		return err
	}
	for i, s := range states {
		tcp, err := w.socket(i)
		if err != nil {
			return err
		}
		c, err := a.hub.Adopt(tcp, s, func(c *hub.Conn) error {
			var err error
			if c.Data, err = a.importSession(c, s.Data); err != nil {
				return fmt.Errorf("session of %d: %w", s.FD, err)
			}
			return nil
		})
		if err != nil {
			_ = tcp.Close()
			return err
		}
		a.admitted.Add(1)
		a.refusals.entered(c.Remote)
		held[s.FD] = &adopted{conn: c, busy: s.Busy}
	}
	return w.send(msgTaken, nil, nil)
}

// begin serves what is held, and counts it.
func (a *App) begin(held map[int64]*adopted) (n int) {
	for fd, h := range held {
		if h.begun {
			continue
		}
		n++
		h.begun = true
		a.node.Opened(a.entry(h.conn, h.conn.Rooms()))
		h.conn.Begin(!h.busy)
		if !h.busy {
			delete(held, fd)
		}
	}
	return n
}

// finishAdoption reads from connections whose action in the old process will not end any more.
func (a *App) finishAdoption(held map[int64]*adopted) {
	for _, h := range held {
		h.conn.Begin(true)
	}
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
				c.Close(r.Code, r.Reason)
			default:
				c.Deliver(r.Frames, r.N)
			}
		}
	}
	return nil
}
