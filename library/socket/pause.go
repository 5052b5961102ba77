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

// Pausable is a listener whose Accept waits while it is paused. The socket stays open: clients wait
// in the kernel's queue, and another process that shares the socket may accept them. It is safe for
// concurrent use, except that one goroutine calls Accept.
type Pausable struct {
	ln Deadliner

	mu      sync.Mutex
	open    chan struct{} // closed while it is not paused
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

// Close implements net.Listener. It ends an Accept that waits for Resume.
func (p *Pausable) Close() error {
	err := p.ln.Close()
	p.Resume()
	return err
}

// Pause makes Accept wait, and returns at once. resting is closed when Accept waits: any connection
// that came before was returned by then.
func (p *Pausable) Pause() (resting <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open, p.resting = make(chan struct{}), make(chan struct{})
		_ = p.ln.SetDeadline(time.Unix(1, 0)) // fails for a closed one, whose Accept ends anyway
	default: // it is paused already
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
