package manager

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
)

// session is one admin connection, from its handshake on.
type session struct {
	socket    *lingering
	peer      string
	idle      chan struct{} // has a value while no command runs
	displaced chan struct{} // is closed when another connection takes this one's place
	leaving   atomic.Bool   // goodbye bounds the rest of the connection

	// Under Server.mu.
	ws     *gws.Conn // nil = the handshake has not ended
	used   time.Time // when its last command ended
	stops  bool      // the client waits for the end of a server that it has stopped
	ending bool      // its close frame is under way
}

// socketKey is the key of the *lingering in a request's context.
type socketKey struct{}

// add begins a session for a handshake, or returns nil. Where there are maxConns, it closes the one
// that has been idle longest.
func (s *Server) add(r *http.Request) *session {
	c := &session{peer: r.RemoteAddr, idle: make(chan struct{}, 1), displaced: make(chan struct{}), used: time.Now()}
	c.socket, _ = r.Context().Value(socketKey{}).(*lingering)
	c.idle <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) == maxConns && !s.displaceOldest() {
		return nil
	}
	s.conns[c] = struct{}{}
	s.work.Add(1)
	return c
}

// displaceOldest closes the connection that has been idle longest, and tells whether there was one.
// s.mu is held.
func (s *Server) displaceOldest() bool {
	byUse := slices.SortedFunc(maps.Keys(s.conns), func(a, b *session) int { return a.used.Compare(b.used) })
	for _, c := range byUse {
		if c.displace() {
			delete(s.conns, c)
			return true
		}
	}
	return false
}

// displace closes the connection for another one, unless a command runs. It tells whether it does.
// Server.mu is held.
func (c *session) displace() bool {
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
	close(c.displaced)
	c.socket.linger.Store(false) // its descriptor is needed at once
	if c.ws == nil {
		go c.socket.cut()
	} else {
		go c.goodbye(tryAgainLater)
	}
	return true
}

// opened notes the end of the handshake, and tells whether the connection has not been displaced.
func (s *Server) opened(c *session, ws *gws.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ws = ws
	if s.closed { // Close has not closed it
		go c.goodbye(goingAway)
	}
	_, ok := s.conns[c]
	return ok
}

// commandEnded notes the end of a command.
func (s *Server) commandEnded(c *session) {
	s.mu.Lock()
	c.used = time.Now()
	s.mu.Unlock()
	c.idle <- struct{}{}
}

// end closes with the code. Until the client has closed its side, too, the connection counts as one
// of maxConns and can be displaced.
func (s *Server) end(c *session, code uint16) {
	s.mu.Lock()
	c.ending = true
	s.mu.Unlock()
	_ = c.ws.WriteClose(code, nil) // fails where the connection has ended
}

// remove ends a session.
func (s *Server) remove(c *session) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.work.Done()
}

// goodbye closes with the code, after the reply to the command that runs. It waits stopTime for the
// reply, and stopTime for the client.
func (c *session) goodbye(code uint16) {
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-c.idle:
	case <-c.displaced: // no command runs
	case <-timer.C:
	}
	c.leave(c.ws.NetConn())
	_ = c.ws.WriteClose(code, nil)
}

// leave bounds what remains of the connection.
func (c *session) leave(nc net.Conn) {
	c.leaving.Store(true)
	_ = nc.SetDeadline(time.Now().Add(stopTime)) // where it fails, the write of the close frame does too
}

// allowIdle bounds how long nothing may arrive before the connection ends; 0 = no bound. A
// goodbye's bound stays, even if it comes in the middle of this call.
func (c *session) allowIdle(nc net.Conn, d time.Duration) {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	_ = nc.SetReadDeadline(end) // where it fails, the read does too
	if c.leaving.Load() {
		c.leave(nc)
	}
}

// write sends a reply. A failure ends the connection, which its reader notices.
func (c *session) write(reply []byte) {
	_ = c.ws.NetConn().SetWriteDeadline(time.Now().Add(writeTime))
	_ = c.ws.WriteMessage(gws.OpcodeText, reply)
}
