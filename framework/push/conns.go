package push

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// conns are a server's open connections. Where there are too many the one that has waited longest for its next request
// gives way, first of those that have never shown who they are: so nobody keeps others out by holding connections.
type conns struct {
	mu        sync.Mutex
	max       int
	all       map[net.Conn]*conn
	strangers *list.List // that wait for a request, the longest first
	known     *list.List // the same of those whose last request came from a caller
	displaced int64
}

// conn is one connection.
type conn struct {
	net.Conn
	since  time.Time     // of its accept, until its first request has ended
	active bool          // a request has begun to come, or is served
	known  bool          // a caller's
	place  *list.Element // among those that wait; nil while a handler runs
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
	case c == nil: // it had to give way
	case state == http.StateActive:
		c.active = true
	case state == http.StateIdle:
		c.active, c.since = false, time.Time{}
	default:
		s.remove(c)
	}
}

// add is for who was accepted. s.mu is held.
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
	_ = c.Close() // it holds a descriptor that clients could have
}

// wait puts a connection behind the others that wait. s.mu is held.
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

// serve holds the place of a request's connection until done is called.
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

// know notes that a request came from a caller.
func (s *conns) know(r *http.Request) {
	nc, _ := r.Context().Value(connKey{}).(net.Conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.all[nc]; c != nil {
		c.known = true
	}
}

// busy tells whether requests are under way, or are about to come on connections that have just been accepted.
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

// count is how many are open, and how many have had to give way.
func (s *conns) count() (open int, displaced int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all), s.displaced
}
