package nodetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/link"
)

// Timeout of the questions that nodes of a Bus ask.
const Timeout = time.Second

// Bus connects nodes: each message is received by all of them at once.
type Bus struct {
	mu    sync.Mutex
	nodes []*Node
	mute  map[string]bool
	gone  bool
}

// NewBus makes a Bus without nodes.
func NewBus() *Bus { return &Bus{mute: map[string]bool{}} }

// Mute has the node neither hear nor answer, although it counts as living.
func (b *Bus) Mute(id string, mute bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mute[id] = mute
}

// SetUnreachable has everybody's Redis not answer: nobody learns of the other nodes.
func (b *Bus) SetUnreachable(so bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = so
}

// Node is a node of a Bus.
type Node struct {
	*ask.Nodes
	ID  string
	bus *Bus

	mu      sync.Mutex
	delayed bool
	waiting []func()
}

// Node adds a node.
func (b *Bus) Node(id string) *Node {
	n := &Node{ID: id, bus: b}
	n.Nodes = ask.New(ask.Config{
		Node: id, Timeout: Timeout, Link: nodeLink{n}, Members: func() ask.Members { return members{b} },
		Here: func(int64) bool { return true }, Frozen: func() bool { return false },
		Protect: func(_ string, f func()) { f() }, Log: zap.NewNop(),
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = append(b.nodes, n)
	return n
}

// Delay has messages be on their way to this node until Arrive.
func (n *Node) Delay() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delayed = true
}

// Arrive has come what was on its way to this node.
func (n *Node) Arrive() {
	n.mu.Lock()
	list := n.waiting
	n.waiting, n.delayed = nil, false
	n.mu.Unlock()
	for _, f := range list {
		f()
	}
}

// nodeLink is an ask.Link.
type nodeLink struct{ *Node }

func (nodeLink) Phase() link.Phase { return link.Serving }

func (l nodeLink) Cursor() (string, bus.Cursor) { return l.ID, nil }

func (l nodeLink) Send(m *bus.Message) error {
	l.bus.mu.Lock()
	nodes := slices.DeleteFunc(slices.Clone(l.bus.nodes), func(n *Node) bool { return l.bus.mute[n.ID] })
	l.bus.mu.Unlock()
	for _, to := range nodes {
		switch m.Kind {
		case envelope.Question:
			to.Questioned(m)
		case envelope.Answer:
			to.Answered(m)
		}
	}
	return nil
}

func (l nodeLink) After(_ string, _ bus.Cursor, limit time.Duration, f func()) {
	l.mu.Lock()
	if !l.delayed {
		l.mu.Unlock()
		f()
		return
	}
	f = sync.OnceFunc(f)
	l.waiting = append(l.waiting, f)
	l.mu.Unlock()
	time.AfterFunc(limit, f)
}

func (l nodeLink) AfterOwn(limit time.Duration, f func()) { l.After("", nil, limit, f) }

// members is an ask.Members.
type members struct{ *Bus }

func (m members) Living(context.Context) (ids []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return nil, errors.New("redis does not answer")
	}
	for _, n := range m.nodes {
		ids = append(ids, n.ID)
	}
	return ids, nil
}

func (m members) Recent(time.Duration) ([]string, bool) { return nil, false }
func (m members) Heard(string)                          {}
