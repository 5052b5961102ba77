package manager

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/lxzan/gws"
)

// session is one admin connection, from its handshake on.
type session struct {
	socket *lingering
	peer   string
	idle   chan struct{} // holds a value while no command runs
	left   chan struct{} // closed when the connection gives way to another one

	// Under Server.mu.
	ws     *gws.Conn // nil during the handshake
	used   time.Time // when its last command ended
	stops  bool      // it asked for a stop and waits for the server's end
	ending bool      // its close frame is under way
}

// socketKey is under which a request's context holds its *lingering.
type socketKey struct{}

// enter takes one of maxConns places for a handshake, or returns nil. When all are taken, the connection that has been idle longest gives way.
func (s *Server) enter(r *http.Request) *session {
	c := &session{peer: r.RemoteAddr, idle: make(chan struct{}, 1), left: make(chan struct{}), used: time.Now()}
	c.socket, _ = r.Context().Value(socketKey{}).(*lingering)
	c.idle <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) == maxConns && !s.makeRoom() {
		return nil
	}
	s.conns[c] = struct{}{}
	s.work.Add(1)
	return c
}

// makeRoom ends the connection whose last command lies back farthest, unless all run one. s.mu is held.
func (s *Server) makeRoom() bool {
	byUse := slices.SortedFunc(maps.Keys(s.conns), func(a, b *session) int { return a.used.Compare(b.used) })
	for _, c := range byUse {
		if c.giveWay() {
			delete(s.conns, c)
			return true
		}
	}
	return false
}

// giveWay ends the connection unless a command runs, and tells whether it does. Server.mu is held.
func (c *session) giveWay() bool {
	switch {
	case c.stops:
		return false
	case c.ending:
		go c.socket.cut()
		return true
	}
	select {
	case <-c.idle: // no command begins any more
	default:
		return false
	}
	close(c.left)
	c.socket.linger.Store(false) // its descriptor is wanted
	if c.ws == nil {
		go c.socket.cut()
	} else {
		go c.goodbye(tryAgainLater)
	}
	return true
}

// opened notes the end of the handshake, and tells whether the connection still has its place.
func (s *Server) opened(c *session, ws *gws.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ws = ws
	if s.closed { // Close has not seen it
		go c.goodbye(goingAway)
	}
	_, ok := s.conns[c]
	return ok
}

// rested notes the end of a command.
func (s *Server) rested(c *session) {
	s.mu.Lock()
	c.used = time.Now()
	s.mu.Unlock()
	c.idle <- struct{}{}
}

// end closes with the code. Until the client has closed its side too, the connection keeps its place, but gives way to others.
func (s *Server) end(c *session, code uint16) {
	s.mu.Lock()
	c.ending = true
	s.mu.Unlock()
	_ = c.ws.WriteClose(code, nil) // one that is closed has no use for it
}

func (s *Server) leave(c *session) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.work.Done()
}

// goodbye closes with the code, after the answer to the command that runs. Both wait at most stopTime.
func (c *session) goodbye(code uint16) {
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-c.idle:
	case <-c.left: // it runs none any more
	case <-timer.C:
	}
	_ = c.ws.NetConn().SetDeadline(time.Now().Add(stopTime)) // of a closed one: WriteClose says so
	_ = c.ws.WriteClose(code, nil)
}

// stay says how long nothing may arrive before the connection ends; 0 = for ever.
func (c *session) stay(d time.Duration) {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	_ = c.ws.NetConn().SetReadDeadline(end) // of a closed one: the read says so
}

// write sends an answer. One that fails ends the connection: nobody needs to hear it here.
func (c *session) write(answer []byte) {
	_ = c.ws.NetConn().SetWriteDeadline(time.Now().Add(writeTime))
	_ = c.ws.WriteMessage(gws.OpcodeText, answer)
}
