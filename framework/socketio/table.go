package socketio

import (
	"sync"
	"time"
)

// table holds the sessions that poll, by their sid.
type table struct {
	mu       sync.Mutex
	sessions map[string]*session
	kept     int // sessions whose connections have ended
	closed   bool
}

func (t *table) get(sid string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[sid]
}

func (t *table) add(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.sessions[s.sid] = s
	}
	return !t.closed
}

func (t *table) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s.sid)
}

// ended removes a session whose connection has ended, after a time: what waits is still to be
// polled, and a client that has left by a packet Disconnect sends the packet Close, too.
func (t *table) ended(s *session) {
	s.endUpgrade()
	if !t.keep(s) {
		t.remove(s)
		s.forget()
		return
	}
	time.AfterFunc(keepTime, func() {
		t.mu.Lock()
		t.kept--
		t.mu.Unlock()
		t.remove(s)
		s.forget()
	})
}

// keep reports whether one more session without a connection is kept.
func (t *table) keep(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.kept >= maxKept || t.sessions[s.sid] != s {
		return false
	}
	t.kept++
	return true
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sessions)
}

// close refuses further sessions, and returns those that there are.
func (t *table) close() (list []*session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, s := range t.sessions {
		list = append(list, s)
	}
	return list
}
