package accept

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
	"wsframe/framework/internal/lograte"
)

// listeners accept sockets, and know those of which it is not decided yet what they are. A stop
// ends these too.
type listeners struct {
	stopping atomic.Bool
	working  sync.WaitGroup // accept loops and handshakes
	handling atomic.Int64   // handshakes

	// Guarded by mu, a leaf.
	mu      sync.Mutex
	list    []net.Listener
	paused  chan struct{}         // non-nil: the accept loops wait for its close
	waiting map[net.Conn]struct{} // undecided sockets, and refused ones whose answer is being read
	over    bool                  // nothing is added to waiting any more
}

// serve accepts on ln until stop, and calls handle in a goroutine for each socket.
func (l *listeners) serve(ln net.Listener, log *zap.Logger, handle func(Conn)) error {
	l.mu.Lock()
	if l.stopping.Load() {
		l.mu.Unlock()
		return ln.Close()
	}
	l.list = append(l.list, ln)
	if l.paused != nil {
		l.wake(time.Unix(1, 0))
	}
	l.working.Add(1)
	l.mu.Unlock()
	defer l.working.Done()
	prepareListener(ln)
	pauses := backoff.Backoff{Min: 5 * time.Millisecond, Max: 500 * time.Millisecond}
	failures := lograte.Limit{Every: time.Second}
	for {
		nc, err := ln.Accept()
		if err != nil {
			if l.stopping.Load() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				l.waitPaused()
				continue
			}
			// Out of descriptors or memory: it helps nobody to ask again at once.
			pause := pauses.Next()
			if n := failures.Due(time.Now()); n > 0 {
				log.Error("accept", zap.Error(err), zap.Duration("next_try", pause), zap.Int64("since_last", n))
			}
			time.Sleep(pause)
			continue
		}
		pauses.Reset()
		conn, ok := nc.(Conn)
		if !ok {
			_ = nc.Close()
			return errors.New("only TCP listeners can be served")
		}
		l.working.Add(1)
		l.handling.Add(1)
		go func() {
			defer l.working.Done()
			defer l.handling.Add(-1)
			handle(conn)
		}()
	}
}

func (l *listeners) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused == nil {
		l.paused = make(chan struct{})
		l.wake(time.Unix(1, 0))
	}
}

func (l *listeners) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused != nil {
		l.wake(time.Time{})
		close(l.paused)
		l.paused = nil
	}
}

// wake sets the deadline of Accept. mu is held.
func (l *listeners) wake(t time.Time) {
	for _, ln := range l.list {
		if d, ok := ln.(interface{ SetDeadline(time.Time) error }); ok {
			_ = d.SetDeadline(t) // a closed one wakes anyway
		}
	}
}

// waitPaused returns when accepting may go on.
func (l *listeners) waitPaused() {
	l.mu.Lock()
	paused := l.paused
	l.mu.Unlock()
	if paused != nil {
		<-paused
	}
}

// stop closes the listeners, wakes whoever waits for a client that is not in yet, and waits until
// no socket is handled any more.
func (l *listeners) stop() {
	l.stopping.Store(true)
	l.mu.Lock()
	for _, ln := range l.list {
		_ = ln.Close() // it may have failed before: the goal is reached
	}
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
	l.over = true
	for c := range l.waiting {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // it may have ended by itself
	}
	l.mu.Unlock()
	l.working.Wait()
}

// begin has a socket end with the listeners. It returns false once they have ended.
func (l *listeners) begin(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	if l.waiting == nil {
		l.waiting = map[net.Conn]struct{}{}
	}
	l.waiting[c] = struct{}{}
	return true
}

// end undoes begin: the socket's deadlines are its own from here on.
func (l *listeners) end(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, c)
}
