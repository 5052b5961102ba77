package socket

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Deadliner is a listener whose Accept can be woken, as that of a *net.TCPListener can.
type Deadliner interface {
	net.Listener
	SetDeadline(time.Time) error
}

// Pausable is a listener whose Accept waits while it is paused. The socket stays open: who comes
// meanwhile waits in the kernel's queue, and another process that shares it may accept. It is safe for
// concurrent use; Accept is for one goroutine.
type Pausable struct {
	ln Deadliner

	mu      sync.Mutex
	open    chan struct{} // closed while it accepts
	resting chan struct{} // closed when Accept waits for open
}

// NewPausable returns a listener that accepts from ln. Nothing else may set deadlines of ln.
func NewPausable(ln Deadliner) *Pausable {
	p := &Pausable{ln: ln, open: make(chan struct{}), resting: make(chan struct{})}
	close(p.open)
	return p
}

// Addr implements net.Listener.
func (p *Pausable) Addr() net.Addr { return p.ln.Addr() }

// Accept implements net.Listener.
func (p *Pausable) Accept() (net.Conn, error) {
	for {
		c, err := p.ln.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		p.mu.Lock()
		open := p.open
		select {
		case <-p.resting:
		default:
			close(p.resting)
		}
		p.mu.Unlock()
		<-open
	}
}

// Close implements net.Listener. An Accept that waits for Resume fails: nobody is accepted any more.
func (p *Pausable) Close() error {
	err := p.ln.Close()
	p.Resume()
	return err
}

// Pause has Accept wait, and returns at once. When resting is closed it does: a connection that came
// just before was returned by Accept.
func (p *Pausable) Pause() (resting <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open, p.resting = make(chan struct{}), make(chan struct{})
		_ = p.ln.SetDeadline(time.Unix(1, 0)) // a closed one ends Accept anyway
	default: // it is paused
	}
	return p.resting
}

// Resume ends a Pause.
func (p *Pausable) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		_ = p.ln.SetDeadline(time.Time{}) // likewise
		close(p.open)
	}
}
