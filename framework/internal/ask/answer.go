package ask

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
)

// handler answers one operation.
type handler struct {
	kind        Kind
	first, both bool
	answer      func(q *Query) Reply
	after       func(q *Query, turn turn)
	// slow returns the answer to a question that waits for Redis, nil for others. nil = none waits.
	slow func(q *Query) func() Reply
	// later is slow for questions of any process: its answer comes from a goroutine of its own.
	later func(q *Query) func() Reply
}

// Handle registers f for an operation of any kind but Follows. f must not wait.
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

// HandleSlow registers wait for those questions of the previous worker that have to wait for Redis,
// as is reports. Questions of other nodes never wait.
func HandleSlow[Q, A any](n *Nodes, op Op[Q, A], is func(fd int64, q Q) bool, wait func(fd int64, q Q) Answer[A]) {
	n.ops[op.Name].slow = func(q *Query) func() Reply {
		question, err := questionOf[Q](q)
		if err != nil || !is(q.FD, question) {
			return nil
		}
		return func() Reply { return encode(n, wait(q.FD, question)) }
	}
}

// HandleLater registers wait for those questions, of whatever process, that is reports: they wait
// for something, and are answered by a goroutine of their own.
func HandleLater[Q, A any](n *Nodes, op Op[Q, A], is func(fd int64, q Q) bool, wait func(fd int64, q Q) Answer[A]) {
	n.ops[op.Name].later = func(q *Query) func() Reply {
		question, err := questionOf[Q](q)
		if err != nil || !is(q.FD, question) {
			return nil
		}
		return func() Reply { return encode(n, wait(q.FD, question)) }
	}
}

// HandleAfter registers f for an operation of the kind Follows. f uses the Turn to answer in order.
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

// Turn is the place of a question of the kind Follows among the messages of its asker.
type Turn[A any] struct{ turn turn }

type turn struct {
	nodes *Nodes
	query *Query
	token string // sender id of the asker on the bus
	reply func(Reply)
}

// After calls f when this node has received all earlier messages of the asker, at the latest after
// limit. f must not wait.
func (t Turn[A]) After(limit time.Duration, f func()) {
	t.turn.nodes.cfg.Link.After(t.turn.token, t.turn.query.Mark, limit, f)
}

// Answer sends the one answer: that of here or, after a hand-over, that of the next worker.
func (t Turn[A]) Answer(here func() Answer[A]) {
	n := t.turn.nodes
	n.serve(t.turn.query, t.turn.token, t.turn.reply, func() Reply { return encode(n, here()) })
}

// CountTime returns the limit for Turn.After in handlers that count. It is a little shorter than
// the asker's, who therefore gets the count.
func (n *Nodes) CountTime() time.Duration { return n.cfg.Timeout * 9 / 10 }

func (n *Nodes) kind(op string) Kind {
	if h := n.ops[op]; h != nil {
		return h.kind
	}
	return Reads
}

// Questioned receives a question from the bus, and answers it.
func (n *Nodes) Questioned(m *bus.Message) {
	var q Query
	if err := json.Unmarshal(m.Body, &q); err != nil {
		n.cfg.Log.Warn("question from another node", zap.Error(err))
		return
	}
	if q.Node == n.cfg.Node {
		return // this node answers its own questions by a call
	}
	n.cfg.Members().Heard(q.Node)
	n.peers.note(q.Node)
	respond := func() {
		n.cfg.Protect("a question from another node", func() { n.respond(&q, m.From, func(r Reply) { n.send(&q, r) }) })
	}
	switch kind := n.kind(q.Op); {
	case kind == Surveys:
		n.surveys.do(respond)
	case kind == Changes && n.cfg.Frozen(): // waits for the move, which may wait for this goroutine
		go respond()
	default:
		n.respond(&q, m.From, func(r Reply) { n.send(&q, r) })
	}
}

// send sends an answer to the asker's inbox.
func (n *Nodes) send(q *Query, r Reply) {
	r.ID, r.Node = q.ID, n.cfg.Node
	body, err := json.Marshal(r)
	if err == nil {
		err = n.cfg.Inbox.Send(q.To, body)
	}
	if err != nil && !n.cfg.Link.Phase().Ended() { // else nobody expects its answers
		n.cfg.Log.Warn("answer to another node", zap.Error(err))
	}
}

// respond answers a question of the sender token: at once, or later for the kind Follows. It does
// not wait.
func (n *Nodes) respond(q *Query, token string, reply func(Reply)) {
	h := n.ops[q.Op]
	switch {
	case h == nil:
		reply(Reply{Error: "unknown question"})
	case h.after != nil:
		h.after(q, turn{n, q, token, reply})
	default:
		if h.later != nil {
			if later := h.later(q); later != nil {
				go n.cfg.Protect("a question that waits", func() { n.serve(q, token, reply, later) })
				return
			}
		}
		n.serve(q, token, reply, func() Reply { return h.answer(q) })
	}
}

// serve answers by here or, after a hand-over, by the next worker. If that one does not answer, the
// asker gets ErrPartial.
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

// maxSurveys limits the surveys that wait for their turn. Further ones are not answered, so their
// askers get ErrPartial.
const maxSurveys = 256

// surveys runs functions one after the other, in the background.
type surveys struct {
	mu      sync.Mutex // held while one runs
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
