package testserver

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Piped is a Redis in memory without any socket, for tests with a clock of their own
// (testing/synctest).
type Piped struct {
	Addr string // an address without a name to resolve; nobody dials it

	engine *miniredis.Miniredis

	mu   sync.Mutex // one of Dial and Stop at a time, since a Dial would start the engine again
	away bool
}

// StartPiped starts a Piped, inside the synctest bubble of the test where there is one.
func StartPiped(t testing.TB) *Piped {
	p := &Piped{Addr: "127.0.0.1:6379", engine: miniredis.NewMiniRedis()}
	p.engine.ClockTTL(true)
	t.Cleanup(p.Stop)
	return p
}

// Dial connects. It is a Dialer of a go-redis client.
func (p *Piped) Dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	c, err := p.engine.Dial()
	if err != nil {
		return nil, err
	}
	q := &queued{Conn: c, out: make(chan []byte, 1<<10), closed: make(chan struct{})}
	go q.run()
	return q, nil
}

// Stop ends all connections and refuses new ones. The stored data stays.
func (p *Piped) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = true
	p.engine.Close()
}

// Restart accepts connections again.
func (p *Piped) Restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = false
}

// queued is a connection with a buffer for writes. Without it, the two ends of a pipeline wait for
// each other.
type queued struct {
	net.Conn
	out    chan []byte
	closed chan struct{}
	once   atomic.Bool
}

func (q *queued) run() {
	for {
		select {
		case b := <-q.out:
			if _, err := q.Conn.Write(b); err != nil {
				_ = q.Conn.Close() // the reader gets the error
				return
			}
		case <-q.closed:
			return
		}
	}
}

func (q *queued) Write(b []byte) (int, error) {
	select {
	case q.out <- append([]byte(nil), b...):
		return len(b), nil
	case <-q.closed:
		return 0, net.ErrClosed
	}
}

func (q *queued) SetDeadline(t time.Time) error    { return q.Conn.SetReadDeadline(t) }
func (q *queued) SetWriteDeadline(time.Time) error { return nil }

func (q *queued) Close() error {
	if q.once.CompareAndSwap(false, true) {
		close(q.closed)
	}
	return q.Conn.Close()
}
