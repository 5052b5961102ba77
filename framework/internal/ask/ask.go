// Package ask puts questions to the nodes of a cluster: about connections, users and rooms, wherever they are. What an operation
// means is known to its owner alone, which declares it, answers it and asks it:
//
//	type countQuestion struct { Room string `json:"r"` }
//
//	var count = ask.Op[countQuestion, struct{}]{Name: "roomCount"}
//
//	ask.Handle(nodes, count, func(q countQuestion) ask.Answer[struct{}] { return ask.Answer[struct{}]{Count: hub.Members(q.Room)} })
//	n, err := ask.Sum(ctx, nodes, count, room, countQuestion{room})
//
// A question costs one message on the bus, and an answer from each other node. This node answers first, by a call; with no other
// nodes that is all. During a reload the connections become the next worker's: it answers in this one's place (Successor).
//
// Nodes is safe for concurrent use; Handle and the like belong before the first question.
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
	// ErrNoConnection is returned where no node has the connection.
	ErrNoConnection = errors.New("no such connection")
	// ErrPartial is returned beside what is known when not all nodes have answered in time, or Redis has not, by which they are asked.
	ErrPartial = errors.New("not all nodes have answered")
)

// Op is an operation: Q and A are what a question asks and what an answer says besides an Answer's own fields. Both are JSON, and
// Name travels, so servers of two versions that run side by side must agree on them. Q's fields must not be named i, n, o, f or m.
type Op[Q, A any] struct {
	Name string
	Kind Kind
	// First says that one node's Found is the whole answer. It is so for each question about one connection.
	First bool
	// Both has the next worker asked during a reload, too, where this one has counted something already.
	Both bool
}

// Kind says when a node answers.
type Kind uint8

const (
	Reads   Kind = iota // at once
	Surveys             // it takes time for each connection, room or user: beside the goroutines that receive, one after the other
	Changes             // it changes a connection: while connections are being moved, it waits for the outcome
	Follows             // after what its asker has sent before, to whomever: see HandleAfter
)

// Answer is what one node answers.
type Answer[A any] struct {
	Found bool // the connection or the user is there
	Count int
	Value A
	Err   error // see Config.Errors
}

// Link is this node's way to the others (package link).
type Link interface {
	Phase() link.Phase
	Cursor() (token string, m bus.Cursor)
	Send(m *bus.Message) error
	After(token string, m bus.Cursor, limit time.Duration, f func())
	AfterOwn(limit time.Duration, f func())
}

// Members names the nodes of the cluster, this one among them (package cluster).
type Members interface {
	Living(ctx context.Context) ([]string, error)     // asks Redis
	Recent(age time.Duration) (ids []string, ok bool) // what is known already, where it is not older
	Heard(node string)                                // a sign of life
}

// Config of Nodes.
type Config struct {
	Node    string        // this one's id
	Alone   bool          // there are no others
	Timeout time.Duration // of a question, in all
	Link    Link
	Members func() Members
	Here    func(fd int64) bool // the connection is here, and has not moved to the next worker
	Frozen  func() bool         // connections are being moved
	// Errors are those that askers tell apart, by the code that travels with an answer's text.
	Errors  map[string]error
	Protect func(what string, f func()) // runs f, and logs its panic
	Log     *zap.Logger
}

// Nodes are the nodes of the cluster, to be asked. It also has this one answer.
type Nodes struct {
	cfg       Config
	ops       map[string]*handler
	peers     peers
	surveys   surveys
	successor atomic.Pointer[Successor]

	last atomic.Int64 // number of a question
	mu   sync.Mutex   // a leaf
	open map[int64]chan Reply
}

// New makes Nodes that know no operation yet.
func New(cfg Config) *Nodes {
	n := &Nodes{cfg: cfg, ops: map[string]*handler{}, open: map[int64]chan Reply{}}
	n.last.Store(time.Now().UnixNano()) // an answer to another worker of this node is no answer here
	return n
}

// Close waits for a lookup of nodes that is under way: Timeout at most.
func (n *Nodes) Close() { n.peers.close() }

// Timeout is for how long a question waits for its answers.
func (n *Nodes) Timeout() time.Duration { return n.cfg.Timeout }

// ask puts a question to this node, then to all others, until enough says that an answer was enough. It waits for Timeout at most.
// key has the question come after what was sent to the same target. Once the connections are the next worker's, that one answers
// for this node, and asks the others.
func (n *Nodes) ask(ctx context.Context, key string, q Query, enough func(Reply) bool) error {
	token := ""
	if n.kind(q.Op) == Follows {
		token, q.Mark = n.cfg.Link.Cursor()
	}
	s := n.successorNow()
	if s != nil && !n.cfg.Here(q.FD) {
		return n.askSuccessor(ctx, s, Inquiry{Query: q, Token: token, Key: key}, enough)
	}
	own := make(chan Reply, 1)
	n.respond(&q, token, func(r Reply) { own <- r })
	select {
	case r := <-own:
		if enough(r) {
			return nil
		}
		own = nil
	default: // it follows what is on its way, and goes on while the others are asked
	}
	if s = n.successorNow(); s != nil && q.FD != 0 { // it has moved in this moment
		return n.askSuccessor(ctx, s, Inquiry{Query: q, Token: token, Key: key}, enough)
	}
	return n.askRest(ctx, own, key, q, enough)
}

// askRest is ask after this node's first answer; own gives that one later, nil = it is known.
func (n *Nodes) askRest(ctx context.Context, own chan Reply, key string, q Query, enough func(Reply) bool) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	others, err := n.Peers(ctx)
	if own != nil && (err != nil || len(others) == 0) {
		if done, err := await(ctx, own, enough); done || err != nil {
			return err
		}
	}
	if err != nil {
		return err // what goes on the bus now comes when nobody waits for it any more
	}
	return n.askOthers(ctx, own, others, key, q, enough)
}

// await waits for this node's answer; done tells that it was enough.
func await(ctx context.Context, own chan Reply, enough func(Reply) bool) (done bool, err error) {
	select {
	case r := <-own:
		return enough(r), nil
	case <-ctx.Done():
		return false, fmt.Errorf("this node: %w", ErrPartial)
	}
}

// askOthers asks those nodes until ctx ends; own gives this one's answer, nil = it is known.
func (n *Nodes) askOthers(ctx context.Context, own chan Reply, others []string, key string, q Query, enough func(Reply) bool) error {
	if len(others) == 0 {
		return nil
	}
	q.ID, q.Node = n.last.Add(1), n.cfg.Node
	answers := n.expect(q.ID, len(others)+8)
	defer n.forget(q.ID)
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
	for len(waiting) > 0 || own != nil {
		select {
		case r := <-own:
			if own = nil; enough(r) {
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
			if own != nil {
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

// Answered takes an answer from the bus.
func (n *Nodes) Answered(m *bus.Message) {
	if m.Key != n.cfg.Node {
		return
	}
	var r Reply
	if err := json.Unmarshal(m.Body, &r); err != nil {
		n.cfg.Log.Warn("answer from another node", zap.Error(err))
		return
	}
	n.cfg.Members().Heard(r.Node)
	n.mu.Lock()
	ch := n.open[r.ID]
	n.mu.Unlock()
	select {
	case ch <- r: // nil, when nobody waits any more: never
	default:
	}
}
