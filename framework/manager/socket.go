package manager

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"wsframe/library/socket"
)

// listener accepts connections that can linger.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lingering{Conn: conn}, nil
}

// lingering is a connection whose Close lets the peer receive all that was sent before. A plain
// close with unread bytes resets the connection, and our last frames are lost.
type lingering struct {
	net.Conn
	linger atomic.Bool
	close  sync.Once
}

// Close implements net.Conn. It takes at most socket.LingerTime.
func (c *lingering) Close() error {
	c.close.Do(func() {
		half, ok := c.Conn.(socket.HalfCloser)
		if ok && c.linger.Load() {
			// Where it fails, the read does too.
			_ = c.Conn.SetReadDeadline(time.Now().Add(socket.LingerTime))
			socket.Linger(half)
		}
		_ = c.Conn.Close()
	})
	return nil
}

// cut closes at once, also while Close lingers.
func (c *lingering) cut() { _ = c.Conn.Close() }
