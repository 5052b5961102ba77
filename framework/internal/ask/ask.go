// Package ask puts questions about connections, users and rooms to the nodes of a cluster.
//
// Each operation belongs to one package (session, closing, directory, presence and others), which
// declares its types, registers its handler and asks it:
//
//	type countQuestion struct { Room string `json:"r"` }
//
//	var count = ask.Op[countQuestion, struct{}]{Name: "roomCount"}
//
//	ask.Handle(nodes, count, func(_ int64, q countQuestion) ask.Answer[struct{}] {
//		return ask.Answer[struct{}]{Count: hub.Members(q.Room)}
//	})
//	n, err := ask.Sum(ctx, nodes, count, room, countQuestion{room})
//
// A question costs one message on the bus, and one answer from each other node, which only the
// asker reads (package inbox). This node answers first, by a function call; without other nodes
// nothing else happens. After a reload's hand-over the next worker has the connections, and answers
// instead of this one (Successor).
//
// Nodes is safe for concurrent use. Handlers must be registered before the first question.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/link"
)

var (
	// ErrNoConnection is returned when no node has the connection.
	ErrNoConnection = errors.New("no such connection")
	// ErrPartial is returned together with a partial result when a node did not answer in time.
	// Redis, which carries the questions, counts as such a node.
	ErrPartial = errors.New("not all nodes have answered")
)

// Op is an operation. Q holds a question's arguments, A an answer's value. Both travel as JSON,
// together with Name, so servers of two versions that run side by side must agree on them. The JSON
// names i, n, to, o, f and m are taken by Query.
type Op[Q, A any] struct {
	Name string
	Kind Kind
	// First ends the question with the first answer that has Found. For a question about one
	// connection that is implied.
	First bool
	// Both has the next worker asked during a reload even when this one has counted something.
	Both bool
}

// Kind determines when a node answers.
type Kind uint8

const (
	// Reads answers at once, in the goroutine that receives messages.
	Reads Kind = iota
	// Surveys takes time for each connection, room or user: one after the other, in the background.
	Surveys
	// Changes changes a connection. While connections are being moved it waits for the outcome.
	Changes
	// Follows answers after all earlier messages of the asker were received: see HandleAfter.
	Follows
)

// Answer is the answer of one node.
type Answer[A any] struct {
	Found bool // the node has the connection or the user
	Count int  // summed over all nodes by Sum
	Value A
	Err   error // travels as text and, for one of Config.Errors, as its code
}

// Link connects this node to the others (package link).
type Link interface {
	Phase() link.Phase
	Cursor() (token string, m bus.Cursor)
	Send(m *bus.Message) error
	After(token string, m bus.Cursor, limit time.Duration, f func())
	AfterOwn(limit time.Duration, f func())
}

// Inbox carries the answers to this process, and its own to others (package inbox).
type Inbox interface {
	// Name is the inbox's address, which travels with questions.
	Name() string
	// Expect has receive called for each answer, by one goroutine, until stop is called.
	Expect(receive func(body []byte)) (stop func())
	// Send sends an answer to the inbox with that name. It never waits.
	Send(to string, body []byte) error
	// Close waits for the answers that wait, at most until ctx ends.
	Close(ctx context.Context)
}

// Members knows the nodes of the cluster, including this one (package cluster).
type Members interface {
	// Living asks Redis for the ids of all living nodes.
	Living(ctx context.Context) ([]string, error)
	// Recent returns the ids that are known already, unless they are older than age.
	Recent(age time.Duration) (ids []string, ok bool)
	// Heard notes that another node has just sent a message.
	Heard(node string)
}

// Config of Nodes.
type Config struct {
	Node    string        // id of this node
	Alone   bool          // there are no other nodes
	Timeout time.Duration // limit of a question, including the look-up of nodes
	Link    Link
	Inbox   Inbox
	Members func() Members
	Here    func(fd int64) bool // whether this process has the connection, and has not moved it
	Frozen  func() bool         // whether connections are being moved
	// Errors maps the codes that travel with answers to the errors that askers distinguish.
	Errors  map[string]error
	Protect func(what string, f func()) // runs f, and logs a panic of it
	Log     *zap.Logger
}

// Nodes asks the nodes of the cluster, and answers for this one.
type Nodes struct {
	cfg       Config
	ops       map[string]*handler
	peers     peers
	surveys   surveys
	successor atomic.Pointer[Successor]

	last atomic.Int64         // number of the newest question
	mu   sync.Mutex           // a leaf
	open map[int64]chan Reply // questions that wait for answers, by number
}

// New makes Nodes without operations.
func New(cfg Config) *Nodes {
	n := &Nodes{cfg: cfg, ops: map[string]*handler{}, open: map[int64]chan Reply{}}
	n.last.Store(time.Now().UnixNano()) // unlike any number of this node's other workers
	return n
}

// Close waits for a running look-up of nodes, at most Timeout, and for the answers that this node
// still sends, at most until ctx ends.
func (n *Nodes) Close(ctx context.Context) {
	n.peers.close()
	n.cfg.Inbox.Close(ctx)
}

// Timeout returns the limit of a question.
func (n *Nodes) Timeout() time.Duration { return n.cfg.Timeout }

// ask puts a question to this node, then to all others, until enough returns true for an answer, at
// most for Timeout. key keeps the question in order with messages of the same key. After a
// hand-over the next worker answers for this node and asks the others.
func (n *Nodes) ask(ctx context.Context, key string, q Query, enough func(Reply) bool) error {
	token := ""
	if n.kind(q.Op) == Follows {
		token, q.Mark = n.cfg.Link.Cursor()
	}
	s := n.successorNow()
	if s != nil && !n.cfg.Here(q.FD) {
		return n.askSuccessor(ctx, s, Inquiry{Query: q, Token: token, Key: key}, enough)
	}
	here := make(chan Reply, 1)
	n.respond(&q, token, func(r Reply) { here <- r })
	select {
	case r := <-here:
		if enough(r) {
			return nil
		}
		here = nil
	default: // its handler waits for earlier messages; the others are asked meanwhile
	}
	if s = n.successorNow(); s != nil && q.FD != 0 { // the connection has just moved
		return n.askSuccessor(ctx, s, Inquiry{Query: q, Token: token, Key: key}, enough)
	}
	return n.askRest(ctx, here, key, q, enough)
}

// askRest asks the other nodes. here delivers this node's answer; nil = it is known already.
func (n *Nodes) askRest(ctx context.Context, here chan Reply, key string, q Query, enough func(Reply) bool) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	others, err := n.Peers(ctx)
	if here != nil && (err != nil || len(others) == 0) {
		if done, err := await(ctx, here, enough); done || err != nil {
			return err
		}
	}
	if err != nil {
		return err // no time remains for answers
	}
	return n.askOthers(ctx, here, others, key, q, enough)
}

// await waits for this node's answer. done reports that it was enough.
func await(ctx context.Context, here chan Reply, enough func(Reply) bool) (done bool, err error) {
	select {
	case r := <-here:
		return enough(r), nil
	case <-ctx.Done():
		return false, fmt.Errorf("this node: %w", ErrPartial)
	}
}

// askOthers asks the given nodes until ctx ends. here delivers this node's answer; nil = it is
// known already.
func (n *Nodes) askOthers(ctx context.Context, here chan Reply, others []string, key string, q Query, enough func(Reply) bool) error {
	if len(others) == 0 {
		return nil
	}
	q.ID, q.Node, q.To = n.last.Add(1), n.cfg.Node, n.cfg.Inbox.Name()
	answers := n.expect(q.ID, len(others)+8)
	defer n.forget(q.ID)
	defer n.cfg.Inbox.Expect(n.answered)()
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if err := n.cfg.Link.Send(&bus.Message{Kind: envelope.Question, Key: key, Body: body}); err != nil {
		return err
	}
	waiting := map[string]bool{}
	for _, id := range others {
		waiting[id] = true
	}
	for len(waiting) > 0 || here != nil {
		select {
		case r := <-here:
			if here = nil; enough(r) {
				return nil
			}
		case r := <-answers:
			if !waiting[r.Node] {
				continue
			}
			delete(waiting, r.Node)
			if enough(r) {
				return nil
			}
		case <-ctx.Done():
			missing := len(waiting)
			if here != nil {
				missing++
			}
			return fmt.Errorf("%d of %d nodes: %w", len(others)+1-missing, len(others)+1, ErrPartial)
		}
	}
	return nil
}

func (n *Nodes) expect(id int64, room int) chan Reply {
	ch := make(chan Reply, room)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open[id] = ch
	return ch
}

func (n *Nodes) forget(id int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, id)
}

// answered receives an answer from the inbox.
func (n *Nodes) answered(body []byte) {
	var r Reply
	if err := json.Unmarshal(body, &r); err != nil {
		n.cfg.Log.Warn("answer from another node", zap.Error(err))
		return
	}
	n.cfg.Members().Heard(r.Node)
	n.mu.Lock()
	ch := n.open[r.ID]
	n.mu.Unlock()
	select {
	case ch <- r: // a nil channel, when nobody waits any more, never receives
	default:
	}
}
