package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

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
	err    error // of the call, or the worker's own
}

// transfer moves the connections of old to next over a socket pair of their own, which the master does not keep: each side
// sees the other's end. An error means that nothing was moved, or that next has taken what it had with it: old goes on.
// Connections that stay behind otherwise are drained with old.
func (m *Master) transfer(ctx context.Context, old, next *child, r *manager.ReloadReport) error {
	ours, theirs, err := socketPair("transfer")
	if err != nil {
		r.Notes = append(r.Notes, err.Error())
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.DrainTime)
	defer cancel()
	adopted := make(chan side, 1)
	go func() { adopted <- half(ctx, next, "adopt", theirs) }()
	gave := half(ctx, old, "transfer", ours)
	took := <-adopted
	a, b := gave.answer.Report, took.answer.Report
	r.Moved, r.Pause = a.Moved, max(a.Pause, b.Pause)
	r.Notes = append(r.Notes, append(a.Notes, b.Notes...)...)
	err = errors.Join(gave.err, took.err)
	if err == nil {
		return nil
	}
	m.cfg.Log.Error("transfer of connections", zap.NamedError("old", gave.err), zap.NamedError("new", took.err), zap.Int("moved", a.Moved))
	switch {
	case errors.Is(took.err, errPeerGone):
		next.endWithin(killAfter)
		return fmt.Errorf("the new worker ended in the middle of the transfer (%s), %d connections with it; the old one goes on with the others%s",
			next.status, a.Moved, next.tail.last())
	case errors.Is(gave.err, errPeerGone):
		old.endWithin(killAfter)
		r.Moved = b.Moved
		r.Notes = append(r.Notes, fmt.Sprintf("the old worker ended in the middle of the transfer (%s): the connections that it had are lost", old.status))
		return nil
	case a.Moved == 0 && b.Moved == 0:
		return fmt.Errorf("the connections could not be moved; the old worker goes on: %w", err)
	}
	r.Moved = max(a.Moved, b.Moved)
	r.Notes = append(r.Notes, "the transfer was not completed: "+err.Error())
	return nil
}

// half asks one worker for its part.
func half(ctx context.Context, c *child, kind string, pair *os.File) (s side) {
	s.err = c.peer.call(ctx, kind, nil, &s.answer, pair)
	if s.err == nil && s.answer.Error != "" {
		s.err = errors.New(s.answer.Error)
	}
	return s
}
