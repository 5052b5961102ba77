package push

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// listener can leave new connections to other processes for a while.
type listener struct {
	*net.TCPListener

	mu      sync.Mutex
	open    chan struct{} // closed while it accepts
	resting chan struct{} // closed when Accept waits for open
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.TCPListener.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		l.mu.Lock()
		open := l.open
		select {
		case <-l.resting:
		default:
			close(l.resting)
		}
		l.mu.Unlock()
		<-open
	}
}

// Close comes before what waits in Accept may go on: nobody is accepted who would only be refused.
func (l *listener) Close() error {
	err := l.TCPListener.Close()
	l.resume()
	return err
}

// pause has Accept wait. Once resting is closed it does: who came just before it was told has been accepted, and is known to the server.
func (l *listener) pause() (resting <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open, l.resting = make(chan struct{}), make(chan struct{})
	_ = l.SetDeadline(time.Unix(1, 0)) // a closed one ends Accept anyway
	return l.resting
}

func (l *listener) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.SetDeadline(time.Time{}) // likewise
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}
