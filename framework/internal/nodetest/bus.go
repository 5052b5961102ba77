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
	ID    string
	bus   *Bus
	inbox *nodeInbox

	mu      sync.Mutex
	delayed bool
	waiting []func()
}

// Node adds a node.
func (b *Bus) Node(id string) *Node {
	n := &Node{ID: id, bus: b}
	n.inbox = &nodeInbox{node: n}
	n.Nodes = ask.New(ask.Config{
		Node: id, Timeout: Timeout, Link: nodeLink{n}, Inbox: n.inbox, Members: func() ask.Members { return members{b} },
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
		if m.Kind == envelope.Question {
			to.Questioned(m)
		}
	}
	return nil
}

// nodeInbox is an ask.Inbox whose answers arrive at once.
type nodeInbox struct {
	node *Node

	mu      sync.Mutex
	receive func(body []byte)
}

func (i *nodeInbox) Name() string { return i.node.ID }

func (i *nodeInbox) Expect(receive func(body []byte)) (stop func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.receive = receive
	return func() {}
}

func (i *nodeInbox) Send(to string, body []byte) error { return i.node.bus.answer(to, body) }

func (i *nodeInbox) Close(context.Context) {}

func (i *nodeInbox) deliver(body []byte) {
	i.mu.Lock()
	receive := i.receive
	i.mu.Unlock()
	if receive != nil {
		receive(body)
	}
}

// answer delivers an answer to the node with that id.
func (b *Bus) answer(to string, body []byte) error {
	b.mu.Lock()
	nodes, mute := slices.Clone(b.nodes), b.mute[to]
	b.mu.Unlock()
	for _, n := range nodes {
		if n.ID == to && !mute {
			n.inbox.deliver(body)
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
