package push

import (
	"context"
	"sync"
	"time"
)

// callTime bounds one request, from the end of its body to its response.
const callTime = 5 * time.Second

// gate is where requests wait while a successor may take the server's place, and where they are
// refused after its end.
type gate struct {
	mu     sync.Mutex
	acting int           // requests that are at the Backend
	closed chan struct{} // not nil: requests wait for its close
	ended  bool
}

// enter lets a request act within callTime; leave must follow where there is no error.
func (g *gate) enter(ctx context.Context) (acting context.Context, leave func(), e *Error) {
	acting, cancel := context.WithTimeout(ctx, callTime)
	if e := g.wait(acting); e != nil {
		cancel()
		return nil, nil, e
	}
	return acting, func() { g.leave(); cancel() }, nil
}

func (g *gate) wait(ctx context.Context) *Error {
	for {
		g.mu.Lock()
		closed, ended := g.closed, g.ended
		if closed == nil && !ended {
			g.acting++
		}
		g.mu.Unlock()
		if ended {
			return fail(CodeUnavailable, "the server ends; nothing was done")
		}
		if closed == nil {
			return nil
		}
		select {
		case <-closed:
		case <-ctx.Done():
			return fail(CodeUnavailable, "the server is being replaced; nothing was done")
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.acting--
}

// busy tells whether requests act.
func (g *gate) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.acting > 0
}

// isOpen tells whether requests may act now, hasEnded whether none ever will again.
func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed == nil && !g.ended
}

func (g *gate) hasEnded() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// close has requests wait until open or end.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil && !g.ended {
		g.closed = make(chan struct{})
	}
}

// open undoes close. It tells whether there was anything to undo.
func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil || g.ended {
		return false
	}
	g.release()
	return true
}

// end refuses all requests from now on, those that wait included.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	g.release()
}

// release wakes the requests that wait. g.mu is held.
func (g *gate) release() {
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}
