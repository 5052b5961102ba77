package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
)

// sweepAtOnce is the number of connections that share the round trips of a sweep. For a slow Redis
// there are fewer, down to an eighth.
const sweepAtOnce = pipeline / 4

// ran is the claim of a connection whose Orphan has returned, so that only its keys remain.
const ran = "ran"

// Sweeper cleans up after processes that ended without doing so themselves: it notifies the close
// listeners of their connections, then removes the connections from Redis. Sweepers of several
// nodes may work at the same time.
type Sweeper struct {
	c        *client
	presence *Presence
	hold     time.Duration                 // Config.Claim
	orphan   func(context.Context, Orphan) // Config.Orphan; nil = none

	turn     turn            // one sweep at a time
	batch    int             // connections that share round trips; under turn
	notified map[string]bool // claims whose orphan has run without a mark; under turn
	swept    atomic.Int64
}

// eachIfMine is ifMine for several connections, in one round trip.
func (s *Sweeper) eachIfMine(ctx context.Context, script string, list []*dying, args ...any) ([]bool, error) {
	answers := make([]*redis.Cmd, len(list))
	err := s.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, d := range list {
			answers[i] = p.Eval(ctx, script, []string{d.claim}, append([]any{s.c.token}, args...)...)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("claim %d dead connections: %w", len(list), err)
	}
	mine := make([]bool, len(list))
	for i, answer := range answers {
		mine[i] = isOne(answer)
	}
	return mine, nil
}

// untilDone repeats sweep until there is nothing to do. With only, it is about these connections of
// the member.
func (s *Sweeper) untilDone(ctx context.Context, m member, only map[string]bool) {
	tries := backoff.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	for {
		done, err := s.sweep(ctx, m, only)
		if done || ctx.Err() != nil {
			return
		}
		if err != nil {
			s.c.log.Warn("dead connections cannot be cleaned up yet", zap.Error(err))
		}
		if !tries.Wait(ctx.Done()) {
			return
		}
	}
}

// sweep cleans up after a dead member, or only after some of its connections, unless another node
// does. done reports that there is nothing more to do.
func (s *Sweeper) sweep(ctx context.Context, m member, only map[string]bool) (done bool, err error) {
	if err := s.turn.acquire(ctx); err != nil {
		return false, err
	}
	defer s.turn.release()
	begun, count := s.c.now(), 0
	claim := s.c.keys.sweep(m)
	mine, err := s.c.ifMine(ctx, acquireClaim, claim, s.hold.Milliseconds())
	if err == nil && !mine {
		// The claim may be left from a failed attempt of this node.
		mine, err = s.c.ifMine(ctx, extendClaim, claim, s.hold.Milliseconds())
	}
	if err != nil || !mine {
		return false, err
	}
	defer func() {
		if _, e := s.c.ifMine(ctx, endClaim, claim); err == nil {
			err = e
		}
		s.swept.Add(int64(count))
		if count > 0 {
			s.c.log.Info("cleaned up dead connections", zap.String("node", m.node), zap.Int("connections", count), zap.Duration("took", s.c.now().Sub(begun)))
		}
	}()
	for {
		fds, err := s.c.members(ctx, s.c.keys.fds(m))
		if err != nil {
			return false, err
		}
		if only != nil {
			fds = slices.DeleteFunc(fds, func(fd string) bool { return !only[fd] })
		}
		if len(fds) == 0 {
			return true, s.removeMember(ctx, m, only)
		}
		before := count
		for chunk := range slices.Chunk(fds, s.batch) {
			if mine, err := s.c.ifMine(ctx, extendClaim, claim, s.hold.Milliseconds()); err != nil || !mine {
				return false, err
			}
			swept, err := s.sweepSome(ctx, m, chunk)
			count += swept
			if err != nil {
				s.batch = max(s.batch/2, sweepAtOnce/8)
				return false, err
			}
		}
		if count == before {
			return false, nil // others have claimed the rest
		}
	}
}

// removeMember removes a member without connections from the list.
func (s *Sweeper) removeMember(ctx context.Context, m member, only map[string]bool) error {
	if only != nil || m.inc == "" {
		return nil
	}
	return s.c.write(ctx, false, func(ctx context.Context, p *plan) {
		p.forget.Del(ctx, s.c.keys.mark(m), s.c.keys.about(m))
		p.unlist.SRem(ctx, s.c.keys.nodes(), m.String())
		if m.node == s.c.id { // its process has certainly ended, or is this one
			p.unlist.Del(ctx, s.c.keys.dead(m))
		}
	})
}

// dying is a connection that is being cleaned up.
type dying struct {
	Entry
	name, claim string
	mine        *redis.Cmd
	owner       *redis.StringCmd
	listed      *redis.BoolCmd
	fresh       bool // claimed by this call
}

// sweepSome cleans up the fds that it can claim, and returns their number.
func (s *Sweeper) sweepSome(ctx context.Context, m member, fds []string) (int, error) {
	begun := s.c.now()
	list, err := s.claim(ctx, m, fds)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	if err := s.notifyAll(ctx, list, begun); err != nil {
		return 0, err
	}
	list = slices.DeleteFunc(list, func(d *dying) bool { return d.name == "" })
	gone := make([]Entry, len(list))
	for i, d := range list {
		gone[i] = d.Entry
	}
	if err := s.presence.recordDepartures(ctx, gone, func(int64) *Entry { return nil }); err != nil {
		return 0, err
	}
	err = s.c.write(ctx, false, func(ctx context.Context, p *plan) {
		for _, d := range list {
			p.traces(ctx, &d.Entry)
		}
	})
	if err != nil {
		return 0, err
	}
	// Only now: what is not listed is not found again. The claim goes after that, or somebody could
	// claim it anew.
	err = s.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for _, d := range list {
			p.SRem(ctx, s.c.keys.fds(m), d.name)
			p.Del(ctx, d.claim)
		}
	})
	if err != nil {
		return 0, err
	}
	for _, d := range list {
		delete(s.notified, d.claim)
	}
	return len(list), nil
}

// claim gives those of the connections that are this process's to clean up, with what Redis knows
// of them.
func (s *Sweeper) claim(ctx context.Context, m member, fds []string) ([]*dying, error) {
	list := make([]*dying, len(fds))
	err := s.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, fd := range fds {
			d := &dying{name: fd, claim: s.c.keys.claim(m, fd)}
			d.mine = p.Eval(ctx, acquireClaim, []string{d.claim}, s.c.token, s.hold.Milliseconds())
			d.owner = p.Get(ctx, d.claim)
			d.listed = p.SIsMember(ctx, s.c.keys.fds(m), fd)
			list[i] = d
		}
	})
	if err != nil {
		return nil, err
	}
	var gone []*dying
	list = slices.DeleteFunc(list, func(d *dying) bool {
		if d.fresh = isOne(d.mine); d.fresh && !d.listed.Val() { // another has just finished it
			gone = append(gone, d)
			return true
		}
		return d.owner.Val() != s.c.token && d.owner.Val() != ran
	})
	numbers := make([]int64, len(list))
	for i, d := range list {
		numbers[i], _ = strconv.ParseInt(d.name, 10, 64) // 0 = no number: unknown
	}
	entries, err := s.c.read(ctx, numbers)
	if err != nil {
		return nil, err
	}
	for i, d := range list {
		d.Entry = entries[i]
	}
	if len(gone) > 0 {
		if _, err := s.eachIfMine(ctx, endClaim, gone); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// notifyAll runs Orphan for the connections without a mark that it has run, and marks each one.
// Marks are written while the next Orphans run, so that not each of them costs a round trip.
// Connections whose claim was lost lose their name.
func (s *Sweeper) notifyAll(ctx context.Context, list []*dying, claimed time.Time) (err error) {
	done, marked := make(chan string, len(list)), make(chan error, 1)
	go func() { marked <- s.mark(ctx, done) }()
	defer func() {
		close(done)
		if e := <-marked; err == nil {
			err = e
		}
	}()
	if claimed, err = s.extend(ctx, list, func(d *dying) bool { return !d.fresh }, claimed); err != nil {
		return err
	}
	for i, d := range list {
		if d.owner.Val() == ran || d.name == "" {
			continue
		}
		if s.c.now().Sub(claimed) > s.hold/3 {
			if claimed, err = s.extend(ctx, list[i:], func(*dying) bool { return true }, s.c.now()); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(marked) > 0 { // Redis does not answer
			return nil
		}
		if d.name != "" && !s.notified[d.claim] {
			s.notify(ctx, d)
		}
		if d.name != "" {
			done <- d.claim
		}
	}
	return nil
}

// extend renews the claims of connections whose Orphan has not run, if which selects them. It
// returns the time since which the renewed claims hold.
func (s *Sweeper) extend(ctx context.Context, list []*dying, which func(*dying) bool, since time.Time) (time.Time, error) {
	var old []*dying
	for _, d := range list {
		if d.owner.Val() != ran && !s.notified[d.claim] && d.name != "" && which(d) {
			old = append(old, d)
		}
	}
	if len(old) == 0 {
		return since, nil
	}
	mine, err := s.eachIfMine(ctx, extendClaim, old, s.hold.Milliseconds())
	for i, d := range old {
		if err == nil && !mine[i] {
			d.name = "" // another's now
		}
	}
	return since, err
}

// mark marks the claims of connections whose Orphan has run, in one round trip for all that are
// there.
func (s *Sweeper) mark(ctx context.Context, done <-chan string) error {
	for claim := range done {
		claims := []string{claim}
		for range len(done) {
			claims = append(claims, <-done)
		}
		err := s.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for _, claim := range claims {
				p.Eval(ctx, setFlag, []string{claim}, ran, deadTime.Milliseconds())
			}
		})
		if err != nil {
			return fmt.Errorf("note that the listeners of dead connections were told: %w", err)
		}
	}
	return nil
}

// notify runs Orphan, except for a connection without identity and listeners, which was never
// opened completely.
func (s *Sweeper) notify(ctx context.Context, d *dying) {
	s.notified[d.claim] = true
	if s.orphan == nil || len(d.Auth) == 0 && len(d.Listeners) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.hold/2)
	defer cancel()
	s.orphan(ctx, d.Entry)
}
