package ask

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"wsframe/framework/internal/link"
)

// Inquiry is a question to the next worker.
type Inquiry struct {
	ID    int64
	Query Query
	Token string // sender id of the asker, for the kind Follows
	Key   string // key of the message that asks the other nodes
	Here  bool   // the other nodes are not asked
}

// Findings are the answers to an Inquiry.
type Findings struct {
	ID      int64
	Replies []Reply
	Partial string `json:",omitempty"` // why answers are missing; "" = none is
}

// Successor is the next worker after a hand-over.
type Successor interface {
	// Ask waits at most until ctx ends. The error is ErrPartial when the channel to the next worker
	// is closed.
	Ask(ctx context.Context, i Inquiry) (Findings, error)
}

// HandOver sets the next worker, which is asked as long as this worker's phase is link.HandedOver.
func (n *Nodes) HandOver(s Successor) { n.successor.Store(&s) }

func (n *Nodes) successorNow() Successor {
	if p := n.successor.Load(); p != nil && n.cfg.Link.Phase() == link.HandedOver {
		return *p
	}
	return nil
}

// ErrGone is returned by Forward when the connection has ended.
var ErrGone = errors.New("the connection has ended")

// Forward has the process to which a connection has moved change it.
func Forward[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], fd int64, question Q) error {
	s := n.successorNow()
	if s == nil { // the next worker has given the connections back, as new ones
		return ErrGone
	}
	q := newQuery(op, fd, question)
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	f, err := s.Ask(ctx, Inquiry{Query: q, Here: true})
	switch {
	case err != nil:
		n.cfg.Log.Warn("a change of a connection that has moved is lost", zap.Int64("fd", fd), zap.String("change", op.Name), zap.Error(err))
		return err
	case len(f.Replies) == 0 || !f.Replies[0].Found:
		return ErrGone
	}
	return n.err(&f.Replies[0])
}

// CountThere asks only the next worker for its count. ok is false when there is none, or when it
// does not answer.
func CountThere[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], question Q) (count int, ok bool) {
	s := n.successorNow()
	if s == nil {
		return 0, false
	}
	q := newQuery(op, 0, question)
	_ = n.askSuccessor(ctx, s, Inquiry{Query: q, Here: true}, func(r Reply) bool { count, ok = r.Count, true; return true })
	return count, ok
}

// askSuccessor asks the next worker, which also asks the other nodes, unless the Inquiry says Here.
func (n *Nodes) askSuccessor(ctx context.Context, s Successor, i Inquiry, enough func(Reply) bool) error {
	// The next worker waits for Timeout for the other nodes.
	ctx, cancel := context.WithTimeout(ctx, 2*n.cfg.Timeout)
	defer cancel()
	f, err := s.Ask(ctx, i)
	for _, r := range f.Replies {
		if enough(r) {
			return nil
		}
	}
	if err == nil && f.Partial != "" {
		err = fmt.Errorf("%s: %w", f.Partial, ErrPartial)
	}
	return err
}

// Inquire answers the previous worker. Questions that need no other node are answered in their
// order. send is called once, possibly by a goroutine of background.
func (n *Nodes) Inquire(i *Inquiry, background *sync.WaitGroup, send func(Findings)) {
	f := Findings{ID: i.ID}
	h := n.ops[i.Query.Op]
	// One answer is enough for a question to which only one process has it.
	enough := func(r Reply) bool {
		f.Replies = append(f.Replies, r)
		return r.Found && (i.Query.FD != 0 || h != nil && h.first)
	}
	if h != nil && h.slow != nil {
		if slow := h.slow(&i.Query); slow != nil {
			background.Go(func() {
				enough(slow())
				send(f)
			})
			return
		}
	}
	here := make(chan Reply, 1)
	respond := func() { n.respond(&i.Query, i.Token, func(r Reply) { here <- r }) }
	if n.kind(i.Query.Op) == Follows { // after messages that were handed over
		n.cfg.Link.AfterOwn(n.cfg.Timeout, respond)
	} else {
		respond()
	}
	select {
	case r := <-here:
		if enough(r) || i.Here {
			send(f)
			return
		}
		here = nil
	default:
	}
	background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timeout)
		defer cancel()
		var err error
		if i.Here {
			_, err = await(ctx, here, enough)
		} else {
			err = n.askRest(ctx, here, i.Key, i.Query, enough)
		}
		if err != nil {
			f.Partial = err.Error()
		}
		send(f)
	})
}
