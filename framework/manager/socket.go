package manager

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lingerTime and lingerBytes bound what is read from a client after the last word to it.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 10
)

// listener makes sockets of what it accepts.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn}, nil
}

// socket is a connection that, once it lingers, closes so that the peer receives what was sent before: closing with unread bytes would
// reset it and take our last frames along.
type socket struct {
	net.Conn
	linger atomic.Bool
	close  sync.Once
}

// Close implements net.Conn. It takes lingerTime at most.
func (c *socket) Close() error {
	c.close.Do(func() {
		half, ok := c.Conn.(interface{ CloseWrite() error })
		if ok && c.linger.Load() && half.CloseWrite() == nil {
			_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) // of a closed one: the read says so
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
		}
		_ = c.Conn.Close()
	})
	return nil
}

// cut closes at once, also while Close lingers.
func (c *socket) cut() { _ = c.Conn.Close() }
