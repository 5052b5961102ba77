package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/manager"
)

// movable tells why connections cannot be moved between the workers, or "".
func movable(old, next Versions) string {
	switch {
	case old.Writes == 0:
		return "the old worker cannot move connections: they are closed with 1012 and come back"
	case !slices.Contains(next.Reads, old.Writes):
		return fmt.Sprintf("the new worker cannot read version %d of the transfer, which the old one writes: connections are closed with 1012 and come back", old.Writes)
	}
	return ""
}

// side is one worker's part in a transfer.
type side struct {
	answer transferAnswer
	err    error         // of the call, or the worker's own
	done   chan struct{} // closed when the two above are valid
}

// transfer is a move of old's connections to next that is under way, over a socket pair of their own, which the master does not
// keep: each side sees the other's end.
type transfer struct {
	old, next  *child
	gave, took *side
	log        *zap.Logger
}

const (
	// verdictTime is how long the master waits for one worker's word when the other has failed. A worker waits 5 s at most for each
	// step of the other one.
	verdictTime = 10 * time.Second
	// lastTime is how much longer the new worker may take than the old one, and the master waits than a worker may take: for their
	// last words, which say why it took so long.
	lastTime = 5 * time.Second
)

// beginTransfer moves the connections, for which each worker has about limit. It returns when they are
// next's. After an error they are still old's, which continues, and next has none.
func beginTransfer(ctx context.Context, old, next *child, limit time.Duration, log *zap.Logger) (*transfer, error) {
	ours, theirs, err := socketPair("transfer")
	if err != nil {
		return nil, fmt.Errorf("the connections could not be moved; the old worker goes on: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	pause, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	if err := old.tell(pause, "pause"); isHang(err) {
		closeFiles([]*os.File{ours, theirs})
		return nil, err
	} else if err != nil {
		log.Warn("the old worker does not pause", zap.Error(err)) // its part of the transfer shows what it can
	}
	t := &transfer{
		old: old, next: next, log: log,
		gave: half(ctx, old, "transfer", ours, limit),
		took: half(ctx, next, "adopt", theirs, limit+lastTime),
	}
	return t, t.decided()
}

// decided waits until one of the workers says whose the connections are. Where next has taken them and died, or nobody can tell, it is
// no error: old, which may have none any more, is not kept.
func (t *transfer) decided() error {
	gave, took := t.gave.done, t.took.done
	refused := false // by old, which has all of them
	var limit <-chan time.Time
	for gave != nil || took != nil {
		var err error
		select {
		case <-t.next.serves.set:
		case <-t.old.handed.set:
		case <-gave:
			gave, err = nil, t.gave.err
			refused = err != nil && !unanswered(err)
		case <-took:
			took, err = nil, t.took.err
		case <-limit:
			gave, took = nil, nil
			continue
		}
		if err == nil && !refused {
			return nil
		}
		if limit == nil {
			timer := time.NewTimer(verdictTime)
			defer timer.Stop()
			limit = timer.C
		}
	}
	errs := [2]error{}
	for i, s := range []*side{t.gave, t.took} {
		select {
		case <-s.done:
			errs[i] = s.err
		default: // its word would come too late
		}
	}
	t.log.Error("transfer of connections", zap.NamedError("old", errs[0]), zap.NamedError("new", errs[1]))
	died := errors.Is(errs[1], errPeerGone)
	switch {
	case errors.Is(errs[0], errPeerGone), died && !refused:
		return nil
	case died:
		t.next.endWithin(killAfter)
		return fmt.Errorf("the new worker ended in the middle of the transfer (%s); the old one goes on with all connections%s", t.next.status, t.next.tail.last())
	}
	return fmt.Errorf("the connections could not be moved; the old worker goes on: %w", errors.Join(errs[:]...))
}

// unanswered tells whether a worker has not said itself that it failed.
func unanswered(err error) bool {
	return errors.Is(err, errPeerGone) || errors.Is(err, context.DeadlineExceeded)
}

// finish waits for old's last actions, which still speak to their connections, and reports. An error means that next, which serves,
// has ended.
func (t *transfer) finish(life context.Context, r *manager.ReloadReport) error {
	for _, s := range []*side{t.gave, t.took} {
		select {
		case <-s.done:
		case <-t.next.exited:
		case <-life.Done():
		}
	}
	var gave, took side
	for s, into := range map[*side]*side{t.gave: &gave, t.took: &took} {
		select {
		case <-s.done:
			*into = *s
		default:
		}
	}
	a, b := gave.answer.Report, took.answer.Report
	r.Moved, r.Pause = max(a.Moved, b.Moved), max(a.Pause, b.Pause)
	r.Notes = append(r.Notes, append(a.Notes, b.Notes...)...)
	handed := false
	select {
	case <-t.old.handed.set:
		handed, r.Moved = true, max(r.Moved, t.old.left.Moved)
	default:
	}
	if err := errors.Join(gave.err, took.err); err != nil {
		t.log.Error("transfer of connections", zap.NamedError("old", gave.err), zap.NamedError("new", took.err), zap.Int("moved", r.Moved))
	}
	gone := errors.Is(gave.err, errPeerGone)
	if gone {
		t.old.endWithin(killAfter)
	}
	if errors.Is(took.err, errPeerGone) {
		t.next.endWithin(killAfter)
	}
	switch {
	case t.next.ended():
		return fmt.Errorf("the new worker ended when it had taken over (%s), %d connections with it; it is restarted%s", t.next.status, r.Moved, t.next.tail.last())
	case gone && handed:
		r.Notes = append(r.Notes, fmt.Sprintf("the old worker ended before its last actions (%s)", t.old.status))
	case gone:
		r.Notes = append(r.Notes, fmt.Sprintf("the old worker ended in the middle of the transfer (%s): the connections that it had are lost", t.old.status))
	case gave.err != nil || took.err != nil:
		r.Notes = append(r.Notes, "the transfer was not completed: "+errors.Join(gave.err, took.err).Error())
	}
	return nil
}

// half asks one worker for its part, for which it has limit.
func half(ctx context.Context, c *child, kind string, pair *os.File, limit time.Duration) *side {
	s := &side{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		ctx, cancel := context.WithTimeout(ctx, limit+lastTime)
		defer cancel()
		s.err = c.peer.callWithin(ctx, limit, kind, nil, &s.answer, pair)
		if s.err == nil && s.answer.Error != "" {
			s.err = errors.New(s.answer.Error)
		}
	}()
	return s
}
