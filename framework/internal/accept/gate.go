package accept

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// Limits of the checks that cost more than a decryption in memory (promise L9).
const (
	gateRuns  = 64      // checks at a time
	gateShare = 4       // one address may have a quarter of them, and of the places to wait
	gateWaits = 64 * 64 // handshakes that wait; each holds a buffer of HandshakeBytes
)

var errBusy = errors.New("too many checks wait")

// gate lets a bounded number of expensive checks run, and shares them among addresses. Checks begin
// in the order in which they came, except those of an address that has its share. Its lock is a
// leaf.
type gate struct {
	mu      sync.Mutex
	running int
	users   map[string]*gateUser // by network; those that run or wait
	queue   []*gateWaiter
}

type gateUser struct{ running, waiting int }

type gateWaiter struct {
	user  *gateUser
	begin chan struct{} // closed when it may run
}

// enter waits until a check for that address may run, and leave must follow. An error means that
// ctx has ended, or that too many wait.
func (g *gate) enter(ctx context.Context, network string) error {
	g.mu.Lock()
	u := g.users[network]
	if u == nil {
		if g.users == nil {
			g.users = map[string]*gateUser{}
		}
		u = &gateUser{}
		g.users[network] = u
	}
	if g.running < gateRuns && u.running < gateRuns/gateShare {
		g.running++
		u.running++
		g.mu.Unlock()
		return nil
	}
	if len(g.queue) >= gateWaits || u.waiting >= gateWaits/gateShare {
		g.mu.Unlock()
		return errBusy
	}
	w := &gateWaiter{u, make(chan struct{})}
	g.queue = append(g.queue, w)
	u.waiting++
	g.mu.Unlock()
	select {
	case <-w.begin:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range g.queue {
		if other == w {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			u.waiting--
			g.forget(network, u)
			return ctx.Err()
		}
	}
	g.left(network, u) // it has begun at the same moment
	return ctx.Err()
}

// leave ends a check, and lets the next one begin.
func (g *gate) leave(network string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left(network, g.users[network])
}

// left is leave with mu held.
func (g *gate) left(network string, u *gateUser) {
	g.running--
	u.running--
	for i, w := range g.queue {
		if w.user.running < gateRuns/gateShare {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			w.user.waiting--
			w.user.running++
			g.running++
			close(w.begin)
			break
		}
	}
	g.forget(network, u)
}

func (g *gate) forget(network string, u *gateUser) {
	if u.running == 0 && u.waiting == 0 {
		delete(g.users, network)
	}
}

// Costly runs a check of Policy.Authenticate that takes more than microseconds: at most 64 at a
// time, a quarter of them for one address. It waits at most until the time for the handshake is
// over, which ends the context of check. A check that goes on nevertheless keeps its place, and its
// handshake is refused with 503, as is one whose check has failed for lack of time. A panic is an
// error. Nothing of Handshake but Request and Remote may be used by check.
func (h *Handshake) Costly(check func(ctx context.Context) error) error {
	s := h.door.server
	ctx, cancel := context.WithDeadline(s.life, h.deadline)
	place := network(h.Remote)
	if err := s.gate.enter(ctx, place); err != nil {
		cancel()
		return &Refusal{Status: http.StatusServiceUnavailable, Reason: "too many tokens wait for their check", Cause: err}
	}
	done := make(chan error, 1)
	go func() {
		defer cancel()
		defer s.gate.leave(place)
		var err error
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
			done <- err
		}()
		err = check(ctx)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done: // it has ended, which cancels ctx
		default:
			err = ctx.Err()
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Refusal{Status: http.StatusServiceUnavailable, Reason: "the check of a token took too long", Cause: err}
	}
	return err
}

// expires is the end of a handshake's time.
func (s *Server) expires() time.Time { return time.Now().Add(s.cfg.HandshakeTimeout) }
