package push

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxConns bounds the connections that are open at once.
	maxConns = 2048
	// newTime is how long Pause waits for the first request of a connection, after its accept.
	newTime = 200 * time.Millisecond
)

// conns are a server's open connections. Holding connections keeps nobody else out: where there are
// too many, the one that has waited longest for its next request is closed, first among those
// without any request of a caller.
type conns struct {
	mu        sync.Mutex
	max       int
	all       map[net.Conn]*conn
	strangers *list.List // idle connections that no caller has used; the longest idle is first
	known     *list.List // idle connections that a caller has used; the longest idle is first
	displaced int64      // number of connections that were closed to make room
}

// conn is one connection.
type conn struct {
	net.Conn
	since  time.Time     // when it was accepted; zero after its first request
	active bool          // a request arrives or is served
	known  bool          // a caller has used it
	place  *list.Element // in strangers or known; nil while a handler runs
}

func newConns() *conns {
	return &conns{max: maxConns, all: map[net.Conn]*conn{}, strangers: list.New(), known: list.New()}
}

// track is http.Server's ConnState.
func (s *conns) track(nc net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.all[nc]
	switch {
	case state == http.StateNew:
		s.add(nc)
	case c == nil: // closed to make room
	case state == http.StateActive:
		c.active = true
	case state == http.StateIdle:
		c.active, c.since = false, time.Time{}
	default:
		s.remove(c)
	}
}

// add notes a connection that was accepted. s.mu is held.
func (s *conns) add(nc net.Conn) {
	c := &conn{Conn: nc, since: time.Now()}
	s.all[nc] = c
	s.wait(c)
	if len(s.all) <= s.max {
		return
	}
	oldest := s.strangers.Front()
	if oldest.Value == c && s.known.Len() > 0 {
		oldest = s.known.Front()
	}
	s.displaced++
	c = oldest.Value.(*conn)
	s.remove(c)
	_ = c.Close() // its descriptor is one that clients could have
}

// wait puts a connection after the others that wait. s.mu is held.
func (s *conns) wait(c *conn) {
	if c.known {
		c.place = s.known.PushBack(c)
	} else {
		c.place = s.strangers.PushBack(c)
	}
}

// unwait undoes wait. s.mu is held.
func (s *conns) unwait(c *conn) {
	if c.place == nil {
		return
	}
	s.known.Remove(c.place) // of the two lists the one that has it
	s.strangers.Remove(c.place)
	c.place = nil
}

// remove forgets a connection. s.mu is held.
func (s *conns) remove(c *conn) {
	s.unwait(c)
	delete(s.all, c.Conn)
}

type connKey struct{}

// context is http.Server's ConnContext.
func (s *conns) context(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// serve keeps a request's connection open until done is called.
func (s *conns) serve(r *http.Request) (done func()) {
	nc, _ := r.Context().Value(connKey{}).(net.Conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.all[nc]
	if c == nil {
		return func() {}
	}
	s.unwait(c)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.all[nc] == c {
			s.wait(c)
		}
	}
}

// know notes that a caller has used a request's connection.
func (s *conns) know(r *http.Request) {
	nc, _ := r.Context().Value(connKey{}).(net.Conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.all[nc]; c != nil {
		c.known = true
	}
}

// busy tells whether requests are under way, or are about to come on connections that have just
// been accepted.
func (s *conns) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		if c.active || time.Since(c.since) < newTime {
			return true
		}
	}
	return false
}

// count returns how many are open, and how many were closed to make room.
func (s *conns) count() (open int, displaced int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all), s.displaced
}
