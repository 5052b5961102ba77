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
	Token string // who asks, where the query follows what he has sent
	Key   string // of the question, should it go on to the other nodes
	Here  bool   // it does not
}

// Findings are what an Inquiry has found.
type Findings struct {
	ID      int64
	Replies []Reply
	Partial string `json:",omitempty"` // why not all have answered
}

// Successor is the next worker, once the connections are its.
type Successor interface {
	// Ask waits as long as ctx. ErrPartial where the way to the next worker has ended.
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

// ErrGone is returned by Forward where the connection has ended.
var ErrGone = errors.New("the connection has ended")

// Forward has a change made in the process to which the connection has moved.
func Forward[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], fd int64, question Q) error {
	s := n.successorNow()
	if s == nil { // the connections came back to this process, as new ones
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

// CountThere asks the next worker alone what it counts; false where there is none, or it does not answer.
func CountThere[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], question Q) (count int, ok bool) {
	s := n.successorNow()
	if s == nil {
		return 0, false
	}
	q := newQuery(op, 0, question)
	_ = n.askSuccessor(ctx, s, Inquiry{Query: q, Here: true}, func(r Reply) bool { count, ok = r.Count, true; return true })
	return count, ok
}

// askSuccessor puts a question that is not this process's any more to the next one, which asks the other nodes, too.
func (n *Nodes) askSuccessor(ctx context.Context, s Successor, i Inquiry, enough func(Reply) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*n.cfg.Timeout) // the other nodes have as long there
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

// Inquire answers the previous worker. What only this process can answer is answered in the order of the questions; send is
// called once, perhaps by another goroutine, which is then one of background.
func (n *Nodes) Inquire(i *Inquiry, background *sync.WaitGroup, send func(Findings)) {
	f := Findings{ID: i.ID}
	h := n.ops[i.Query.Op]
	// One answer is enough where only one can know.
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
	own := make(chan Reply, 1)
	respond := func() { n.respond(&i.Query, i.Token, func(r Reply) { own <- r }) }
	if n.kind(i.Query.Op) == Follows { // what the previous worker has left to this one to send comes first
		n.cfg.Link.AfterOwn(n.cfg.Timeout, respond)
	} else {
		respond()
	}
	select {
	case r := <-own:
		if enough(r) || i.Here {
			send(f)
			return
		}
		own = nil
	default:
	}
	background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timeout)
		defer cancel()
		var err error
		if i.Here {
			_, err = await(ctx, own, enough)
		} else {
			err = n.askRest(ctx, own, i.Key, i.Query, enough)
		}
		if err != nil {
			f.Partial = err.Error()
		}
		send(f)
	})
}
