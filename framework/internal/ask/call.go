package ask

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// One asks the node that has the connection, and returns its answer. The error is ErrNoConnection
// when no node has it, and ErrPartial when a node that may have it did not answer.
func One[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], fd int64, question Q) (value A, err error) {
	q := newQuery(op, fd, question)
	var found *Reply
	err = n.ask(ctx, strconv.FormatInt(fd, 10), q, func(r Reply) bool {
		if r.Found {
			found = &r
		}
		return r.Found
	})
	switch {
	case found != nil:
		if value, err = decode[A](n, found); err == nil {
			return value, nil
		}
	case err == nil:
		err = ErrNoConnection
	}
	if found != nil {
		return value, err
	}
	return value, fmt.Errorf("connection %d: %w", fd, err)
}

// Sum asks all nodes and adds their counts. With ErrPartial it is the sum of those that answered.
func Sum[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], key string, question Q) (sum int, err error) {
	q := newQuery(op, 0, question)
	err = n.ask(ctx, key, q, func(r Reply) bool { sum += r.Count; return false })
	return sum, err
}

// Any asks all nodes until one has found it.
func Any[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], key string, question Q) (found bool, err error) {
	q := newQuery(op, 0, question)
	err = n.ask(ctx, key, q, func(r Reply) bool { found = r.Found; return found })
	return found, err
}

// All asks all nodes and calls take with each answer. Answers of another version that cannot be
// read are omitted.
func All[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], key string, question Q, take func(A)) error {
	q := newQuery(op, 0, question)
	return n.ask(ctx, key, q, func(r Reply) bool {
		if value, err := decode[A](n, &r); err == nil {
			take(value)
		}
		return false
	})
}

// Others asks all other nodes that Redis lists now, until enough returns true, at most for twice
// Timeout. The error is ErrPartial when a node did not answer, or when its answer cannot be read.
func Others[Q, A any](ctx context.Context, n *Nodes, op Op[Q, A], question Q, enough func(A) bool) error {
	if n.cfg.Alone {
		return nil
	}
	q := newQuery(op, 0, question)
	ctx, cancel := context.WithTimeout(ctx, 2*n.cfg.Timeout)
	defer cancel()
	others, err := n.cfg.Members().Living(ctx) // a cached list may lack new nodes
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(id string) bool { return id == n.cfg.Node })
	understood := true
	err = n.askOthers(ctx, nil, others, "", q, func(r Reply) bool {
		value, err := decode[A](n, &r)
		if understood = err == nil; !understood {
			return true
		}
		return enough(value)
	})
	if err == nil && !understood {
		err = ErrPartial
	}
	return err
}
