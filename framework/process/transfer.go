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

// movable returns the reason for which connections cannot be moved between the workers, or "".
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
	answer transferReply
	err    error         // of the call, or the one that the worker reports
	done   chan struct{} // closed when answer and err are valid
}

// transfer is a move of old's connections to next over a socket pair. The master does not keep the
// pair, so that each side notices the end of the other.
type transfer struct {
	old, next        *child
	sender, receiver *side
	log              *zap.Logger
}

const (
	// verdictTime is how long the master waits for one worker's report when the other has failed. A
	// worker waits 5 s at most for each step of the other one.
	verdictTime = 10 * time.Second
	// lastTime is by how much the new worker's time exceeds the old one's, and the master's wait
	// exceeds a worker's time. So the reports arrive that say why it took so long.
	lastTime = 5 * time.Second
)

// beginTransfer moves the connections, for which each worker has about limit. It returns when they
// are next's. After an error they are still old's, which continues, and next has none.
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
		log.Warn("the old worker does not pause", zap.Error(err)) // the transfer decides
	}
	t := &transfer{
		old: old, next: next, log: log,
		sender:   beginSide(ctx, old, "transfer", ours, limit),
		receiver: beginSide(ctx, next, "adopt", theirs, limit+lastTime),
	}
	return t, t.decided()
}

// decided waits until one of the workers reports which one has the connections. It is no error if
// next has claimed them and died, or if nobody reports: old may have none any more and is not kept.
func (t *transfer) decided() error {
	sender, receiver := t.sender.done, t.receiver.done
	refused := false // old reports that it has all of them
	var limit <-chan time.Time
	for sender != nil || receiver != nil {
		var err error
		select {
		case <-t.next.serves.set:
		case <-t.old.handed.set:
		case <-sender:
			sender, err = nil, t.sender.err
			refused = err != nil && !noVerdict(err)
		case <-receiver:
			receiver, err = nil, t.receiver.err
		case <-limit:
			sender, receiver = nil, nil
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
	for i, s := range []*side{t.sender, t.receiver} {
		select {
		case <-s.done:
			errs[i] = s.err
		default: // its report would come too late
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

// noVerdict reports whether a call ended without the worker's own report.
func noVerdict(err error) bool {
	return errors.Is(err, errPeerGone) || errors.Is(err, context.DeadlineExceeded)
}

// finish waits for old's last actions, whose frames are relayed, and completes the report. An error
// means that next, which serves, has ended.
func (t *transfer) finish(life context.Context, r *manager.ReloadReport) error {
	for _, s := range []*side{t.sender, t.receiver} {
		select {
		case <-s.done:
		case <-t.next.exited:
		case <-life.Done():
		}
	}
	var sender, receiver side
	for s, into := range map[*side]*side{t.sender: &sender, t.receiver: &receiver} {
		select {
		case <-s.done:
			*into = *s
		default:
		}
	}
	a, b := sender.answer.Report, receiver.answer.Report
	r.Moved, r.Pause = max(a.Moved, b.Moved), max(a.Pause, b.Pause)
	r.Notes = append(r.Notes, append(a.Notes, b.Notes...)...)
	handed := false
	select {
	case <-t.old.handed.set:
		handed, r.Moved = true, max(r.Moved, t.old.handedOver.Moved)
	default:
	}
	if err := errors.Join(sender.err, receiver.err); err != nil {
		t.log.Error("transfer of connections", zap.NamedError("old", sender.err), zap.NamedError("new", receiver.err), zap.Int("moved", r.Moved))
	}
	gone := errors.Is(sender.err, errPeerGone)
	if gone {
		t.old.endWithin(killAfter)
	}
	if errors.Is(receiver.err, errPeerGone) {
		t.next.endWithin(killAfter)
	}
	switch {
	case t.next.ended():
		return fmt.Errorf("the new worker ended when it had taken over (%s), %d connections with it; it is restarted%s", t.next.status, r.Moved, t.next.tail.last())
	case gone && handed:
		r.Notes = append(r.Notes, fmt.Sprintf("the old worker ended before its last actions (%s)", t.old.status))
	case gone:
		r.Notes = append(r.Notes, fmt.Sprintf("the old worker ended in the middle of the transfer (%s): the connections that it had are lost", t.old.status))
	case sender.err != nil || receiver.err != nil:
		r.Notes = append(r.Notes, "the transfer was not completed: "+errors.Join(sender.err, receiver.err).Error())
	}
	return nil
}

// beginSide asks one worker for its part, for which it has limit.
func beginSide(ctx context.Context, c *child, kind string, pair *os.File, limit time.Duration) *side {
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
