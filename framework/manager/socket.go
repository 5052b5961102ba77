package manager

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"wsframe/library/socket"
)

// listener gives connections that can linger.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lingering{Conn: conn}, nil
}

// lingering is a connection that, once it lingers, closes so that the peer receives what was sent before: closing with unread bytes would
// reset it and take our last frames along.
type lingering struct {
	net.Conn
	linger atomic.Bool
	close  sync.Once
}

// Close implements net.Conn. It takes socket.LingerTime at most.
func (c *lingering) Close() error {
	c.close.Do(func() {
		half, ok := c.Conn.(socket.HalfCloser)
		if ok && c.linger.Load() {
			_ = c.Conn.SetReadDeadline(time.Now().Add(socket.LingerTime)) // of a closed one: the read says so
			socket.Linger(half)
		}
		_ = c.Conn.Close()
	})
	return nil
}

// cut closes at once, also while Close lingers.
func (c *lingering) cut() { _ = c.Conn.Close() }
