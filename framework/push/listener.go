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

	mu   sync.Mutex
	open chan struct{} // closed while it accepts
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.TCPListener.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		l.mu.Lock()
		open := l.open
		l.mu.Unlock()
		<-open
	}
}

func (l *listener) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = make(chan struct{})
	_ = l.SetDeadline(time.Unix(1, 0)) // a closed one ends Accept anyway
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
