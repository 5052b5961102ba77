package accept

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
	"wsframe/framework/internal/lograte"
	"wsframe/library/socket"
)

// listeners accept sockets and keep track of those whose request is not handled yet, so that a stop
// can end these too.
type listeners struct {
	stopping atomic.Bool
	working  sync.WaitGroup // accept loops and handshakes
	handling atomic.Int64   // handshakes

	// Guarded by mu, a leaf.
	mu      sync.Mutex
	list    []*socket.Pausable
	paused  bool
	waiting map[net.Conn]struct{} // undecided sockets, and refused ones whose answer is being read
	over    bool                  // begin fails
}

// serve accepts on ln until stop, and calls handle in a goroutine for each socket.
func (l *listeners) serve(ln socket.Deadliner, log *zap.Logger, handle func(Conn)) error {
	l.mu.Lock()
	if l.stopping.Load() {
		l.mu.Unlock()
		return ln.Close()
	}
	pausable := socket.NewPausable(ln)
	l.list = append(l.list, pausable)
	if l.paused {
		pausable.Pause()
	}
	l.working.Add(1)
	l.mu.Unlock()
	defer l.working.Done()
	prepareListener(ln)
	pauses := backoff.Backoff{Min: 5 * time.Millisecond, Max: 500 * time.Millisecond}
	failures := lograte.Limit{Every: time.Second}
	for {
		nc, err := pausable.Accept()
		if err != nil {
			if l.stopping.Load() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Without descriptors or memory an immediate retry would fail too.
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
			return errNotTCP
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
	l.paused = true
	for _, ln := range l.list {
		ln.Pause()
	}
}

func (l *listeners) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	for _, ln := range l.list {
		ln.Resume()
	}
}

// stop closes the listeners, interrupts the waits for requests, and returns when no socket is
// handled any more.
func (l *listeners) stop() {
	l.stopping.Store(true)
	l.mu.Lock()
	for _, ln := range l.list {
		_ = ln.Close() // a second close may fail, without consequence
	}
	l.over = true
	for c := range l.waiting {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // the socket may be closed already
	}
	l.mu.Unlock()
	l.working.Wait()
}

// begin adds a socket that stop must end. It returns false once stop has begun.
func (l *listeners) begin(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enter(c)
}

// adopt is begin of a socket that no listener handles. working.Done follows.
func (l *listeners) adopt(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.enter(c) {
		return false
	}
	l.working.Add(1)
	return true
}

// enter is begin with mu held.
func (l *listeners) enter(c net.Conn) bool {
	if l.over {
		return false
	}
	if l.waiting == nil {
		l.waiting = map[net.Conn]struct{}{}
	}
	l.waiting[c] = struct{}{}
	return true
}

// end undoes begin, after which stop does not touch the socket's deadlines.
func (l *listeners) end(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, c)
}
