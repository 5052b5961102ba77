package hub

import (
	"errors"
	"slices"
	"sync"

	"wsframe/framework/internal/wire"
)

// ErrTooManyUsers is returned by Bind on a connection that has as many uids as it may have.
var ErrTooManyUsers = errors.New("connection is bound to too many uids")

const maxUsers = 16

// userShard is a part of the index of connections by uid.
type userShard struct {
	mu    sync.RWMutex
	conns map[string][]*Conn
}

func (h *Hub) userShard(uid string) *userShard { return &h.users[shardOf(uid)] }

// Bind has the connection found by the uid, until it ends or Unbind. It tells whether it was not before.
func (h *Hub) Bind(c *Conn, uid string) (bool, error) {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	switch {
	case c.gone:
		return false, ErrClosed
	case slices.Contains(c.uids, uid):
		return false, nil
	case len(c.uids) >= maxUsers:
		return false, ErrTooManyUsers
	}
	c.uids = append(c.uids, uid)
	s := h.userShard(uid)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[uid] = append(s.conns[uid], c)
	return true, nil
}

// Unbind undoes Bind. It tells whether there was something to undo.
func (h *Hub) Unbind(c *Conn, uid string) bool {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	i := slices.Index(c.uids, uid)
	if i < 0 {
		return false
	}
	c.uids = slices.Delete(c.uids, i, i+1)
	h.unbind(c, uid)
	return true
}

func (h *Hub) unbind(c *Conn, uid string) {
	s := h.userShard(uid)
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.conns[uid]
	if i := slices.Index(list, c); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(s.conns, uid)
		return
	}
	s.conns[uid] = list
}

// Users are the uids that the connection is bound to.
func (c *Conn) Users() []string {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	return slices.Clone(c.uids)
}

// User is the uid's connections here, in the order in which they were bound.
func (h *Hub) User(uid string) []*Conn {
	s := h.userShard(uid)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.conns[uid])
}

// UserCount is the number of uids with connections here.
func (h *Hub) UserCount() int {
	n := 0
	for i := range h.users {
		s := &h.users[i]
		s.mu.RLock()
		n += len(s.conns)
		s.mu.RUnlock()
	}
	return n
}

// UserNames are the uids with connections here, in no order.
func (h *Hub) UserNames() []string {
	var names []string
	for i := range h.users {
		s := &h.users[i]
		s.mu.RLock()
		for uid := range s.conns {
			names = append(names, uid)
		}
		s.mu.RUnlock()
	}
	return names
}

// SendTo sends the frame to the connections that it does not exclude, and counts those that took it.
func SendTo(conns []*Conn, f wire.Frame) int {
	n := 0
	for _, c := range conns {
		if !f.Excludes(c.FD) && c.Send(f) == nil {
			n++
		}
	}
	return n
}
