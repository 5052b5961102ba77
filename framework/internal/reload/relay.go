package reload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// relayed is frames or a close for moved connections, or a question to the new process.
type relayed struct {
	FDs    []int64
	Frames []byte       `json:",omitempty"`
	N      int          `json:",omitempty"`
	Class  wire.Class   `json:",omitempty"`
	Key    string       `json:",omitempty"`
	Code   int          `json:",omitempty"` // a close
	Reason string       `json:",omitempty"`
	Ask    *ask.Inquiry `json:",omitempty"`

	Token  string     `json:",omitempty"`     // of a close: who had sent what comes first
	Cursor bus.Cursor `json:"Mark,omitempty"` // of a close: after them
}

// relay collects what the old process sends to moved connections, in order; the sender forwards it.
// It also carries the questions and changes of the last actions to the new process, which has the
// connections. Its size is bounded by what running actions and timers send while the process ends.
//
// Methods are safe for concurrent use. The lock is a leaf.
type relay struct {
	mu        sync.Mutex
	relays    []relayed
	ended     []int64 // connections whose action has ended
	questions map[int64]chan ask.Findings
	lastID    int64         // of a question
	closed    bool          // nothing is forwarded any more
	changed   chan struct{} // 1
}

var (
	_ hub.Mover     = (*relay)(nil)
	_ ask.Successor = (*relay)(nil)
)

func newRelay() *relay {
	return &relay{questions: map[int64]chan ask.Findings{}, changed: make(chan struct{}, 1)}
}

func (m *relay) Relay(fd int64, frames []byte, n int, x *wire.Handling, shared bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A fan-out gives the same frame to many.
	if last := len(m.relays) - 1; last >= 0 && len(frames) > 0 && len(m.relays[last].Frames) == len(frames) && &m.relays[last].Frames[0] == &frames[0] {
		m.relays[last].FDs = append(m.relays[last].FDs, fd)
		return
	}
	if !shared {
		frames = slices.Clone(frames)
	}
	r := relayed{FDs: []int64{fd}, Frames: frames, N: n}
	if x != nil {
		r.Class, r.Key = x.Class, x.Key
	}
	m.add(r)
}

func (m *relay) RelayClose(fd int64, code int, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(relayed{FDs: []int64{fd}, Code: code, Reason: reason})
}

func (m *relay) actionEnded(fd int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = append(m.ended, fd)
	m.wake()
}

// add appends a relay. mu is held.
func (m *relay) add(r relayed) {
	if m.closed {
		return
	}
	m.relays = append(m.relays, r)
	m.wake()
}

func (m *relay) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *relay) drain() (relays []relayed, done []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	relays, done, m.relays, m.ended = m.relays, m.ended, nil, nil
	return relays, done
}

// relayBytes is about how much of relays goes into one message.
const relayBytes = 1 << 20

// sendRelays sends what was drained.
func sendRelays(w Pipe, relays []relayed) error {
	for len(relays) > 0 {
		n, bytes := 0, 0
		for n < len(relays) && bytes < relayBytes {
			bytes += len(relays[n].Frames) + 8*len(relays[n].FDs)
			n++
		}
		if err := sendJSON(w, msgRelay, relays[:n]); err != nil {
			return err
		}
		relays = relays[n:]
	}
	return nil
}

// Ask asks the new process, after everything that was relayed before. It waits until ctx or the
// transfer ends.
func (m *relay) Ask(ctx context.Context, i ask.Inquiry) (ask.Findings, error) {
	ch := make(chan ask.Findings, 1)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ask.Findings{}, fmt.Errorf("ask the next worker: %w", ask.ErrPartial)
	}
	m.lastID++
	i.ID = m.lastID
	m.questions[i.ID] = ch
	m.add(relayed{Ask: &i})
	m.mu.Unlock()
	select {
	case f, ok := <-ch:
		if ok {
			return f, nil
		}
	case <-ctx.Done():
		m.mu.Lock()
		delete(m.questions, i.ID)
		m.mu.Unlock()
	}
	return ask.Findings{}, fmt.Errorf("ask the next worker: %w", ask.ErrPartial)
}

func (m *relay) resolve(f ask.Findings) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch := m.questions[f.ID]; ch != nil {
		delete(m.questions, f.ID)
		ch <- f
	}
}

// close ends all questions: the transfer is over.
func (m *relay) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.relays = true, nil
	for _, ch := range m.questions {
		close(ch)
	}
	clear(m.questions)
}
