package ask

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
)

// handler answers one operation.
type handler struct {
	kind        Kind
	first, both bool
	answer      func(q *Query) Reply
	after       func(q *Query, turn turn)
	slow        func(q *Query) func() Reply // nil, or gives nil: it is not slow
}

// Handle has f answer an operation of any kind but Follows. It must not wait.
func Handle[Q, A any](n *Nodes, op Op[Q, A], f func(fd int64, q Q) Answer[A]) {
	n.ops[op.Name] = &handler{kind: op.Kind, first: op.First, both: op.Both, answer: func(q *Query) Reply {
		return answerBy(n, q, func(question Q) Answer[A] { return f(q.FD, question) })
	}}
}

func answerBy[Q, A any](n *Nodes, q *Query, f func(Q) Answer[A]) Reply {
	question, err := questionOf[Q](q)
	if err != nil {
		return Reply{Error: err.Error()}
	}
	return encode(n, f(question))
}

// HandleSlow has wait answer those questions of the previous worker for which is says that they wait for Redis. Other nodes'
// questions never wait.
func HandleSlow[Q, A any](n *Nodes, op Op[Q, A], is func(fd int64, q Q) bool, wait func(fd int64, q Q) Answer[A]) {
	n.ops[op.Name].slow = func(q *Query) func() Reply {
		question, err := questionOf[Q](q)
		if err != nil || !is(q.FD, question) {
			return nil
		}
		return func() Reply { return encode(n, wait(q.FD, question)) }
	}
}

// HandleAfter has f answer an operation of the kind Follows: when the Turn says so.
func HandleAfter[Q, A any](n *Nodes, op Op[Q, A], f func(fd int64, q Q, t Turn[A])) {
	n.ops[op.Name] = &handler{kind: op.Kind, first: op.First, both: op.Both, after: func(q *Query, t turn) {
		question, err := questionOf[Q](q)
		if err != nil {
			t.reply(Reply{Error: err.Error()})
			return
		}
		f(q.FD, question, Turn[A]{t})
	}}
}

// Turn is where a question of the kind Follows stands among what its asker has sent.
type Turn[A any] struct{ turn turn }

type turn struct {
	nodes *Nodes
	query *Query
	token string // of the asker
	reply func(Reply)
}

// After calls f when what the asker had sent before has been received here, or has not been for as long as limit. f must not wait.
func (t Turn[A]) After(limit time.Duration, f func()) {
	t.turn.nodes.cfg.Link.After(t.turn.token, t.turn.query.Mark, limit, f)
}

// Answer answers once, by here, or by the next worker where that one has the connections by now.
func (t Turn[A]) Answer(here func() Answer[A]) {
	n := t.turn.nodes
	n.serve(t.turn.query, t.turn.token, t.turn.reply, func() Reply { return encode(n, here()) })
}

// CountTime is for how long what is counted waits: who asks waits a little longer, and hears of it.
func (n *Nodes) CountTime() time.Duration { return n.cfg.Timeout * 9 / 10 }

func (n *Nodes) kind(op string) Kind {
	if h := n.ops[op]; h != nil {
		return h.kind
	}
	return Reads
}

// Questioned answers another node.
func (n *Nodes) Questioned(m *bus.Message) {
	var q Query
	if err := json.Unmarshal(m.Body, &q); err != nil {
		n.cfg.Log.Warn("question from another node", zap.Error(err))
		return
	}
	if q.Node == n.cfg.Node {
		return // answered before it was asked
	}
	n.cfg.Members().Heard(q.Node)
	n.peers.note(q.Node)
	respond := func() {
		n.cfg.Protect("a question from another node", func() { n.respond(&q, m.From, func(r Reply) { n.send(&q, r) }) })
	}
	switch kind := n.kind(q.Op); {
	case kind == Surveys:
		n.surveys.do(respond)
	case kind == Changes && n.cfg.Frozen(): // it may wait for a move that waits for us
		go respond()
	default:
		n.respond(&q, m.From, func(r Reply) { n.send(&q, r) })
	}
}

// send puts an answer on the bus.
func (n *Nodes) send(q *Query, r Reply) {
	r.ID, r.Node = q.ID, n.cfg.Node
	body, err := json.Marshal(r)
	if err == nil {
		err = n.cfg.Link.Send(&bus.Message{Kind: envelope.Answer, Key: q.Node, Body: body})
	}
	if err != nil && !n.cfg.Link.Phase().Ended() { // else nobody expects its answers
		n.cfg.Log.Warn("answer to another node", zap.Error(err))
	}
}

// respond gives this node's answer to a question of that sender, at once where it follows nothing. It waits for nobody.
func (n *Nodes) respond(q *Query, token string, reply func(Reply)) {
	h := n.ops[q.Op]
	switch {
	case h == nil:
		reply(Reply{Error: "unknown question"})
	case h.after != nil:
		h.after(q, turn{n, q, token, reply})
	default:
		n.serve(q, token, reply, func() Reply { return h.answer(q) })
	}
}

// serve has here answer or, where the connections are the next worker's by now, that one. Where that does not, who asked learns
// that not all have answered.
func (n *Nodes) serve(q *Query, token string, reply func(Reply), here func() Reply) {
	var r Reply
	if n.successorNow() == nil || n.cfg.Here(q.FD) {
		r = here()
	}
	s := n.successorNow()
	if s == nil || r.Found || !n.ops[q.Op].both && r.Count > 0 {
		reply(r)
		return
	}
	go n.cfg.Protect("a question to the next worker", func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timeout)
		defer cancel()
		f, err := s.Ask(ctx, Inquiry{Query: *q, Token: token, Here: true})
		if err == nil && len(f.Replies) > 0 {
			f.Replies[0].Count += r.Count
			reply(f.Replies[0])
		}
	})
}

// maxSurveys bounds the questions that wait for their turn; who asked more hears that this node has not answered.
const maxSurveys = 256

// surveys are made one after the other.
type surveys struct {
	mu      sync.Mutex // held while one is made
	waiting atomic.Int64
}

func (s *surveys) do(f func()) {
	if s.waiting.Add(1) > maxSurveys {
		s.waiting.Add(-1)
		return
	}
	go func() {
		defer s.waiting.Add(-1)
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
	}()
}
