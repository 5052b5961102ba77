package hub

import (
	"errors"
	"hash/maphash"
	"slices"
	"sync"

	"wsframe/framework/internal/wire"
)

// ErrTooManyUsers is returned by Bind on a connection that has as many uids as it may have.
var ErrTooManyUsers = errors.New("connection is bound to too many uids")

const maxUsers = 16

// uids are those that one connection is bound to.
type uids struct {
	mu    sync.Mutex
	list  []string
	ended bool // no more
}

// users is the index of connections by uid.
type users struct {
	seed   maphash.Seed
	shards [shardCount]userShard
}

type userShard struct {
	mu    sync.RWMutex
	conns map[string][]*Conn
}

func (u *users) init() {
	u.seed = maphash.MakeSeed()
	for i := range u.shards {
		u.shards[i].conns = map[string][]*Conn{}
	}
}

func (u *users) shard(uid string) *userShard {
	return &u.shards[maphash.String(u.seed, uid)%shardCount]
}

func (u *users) add(c *Conn, uid string) {
	s := u.shard(uid)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[uid] = append(s.conns[uid], c)
}

func (u *users) remove(c *Conn, uid string) {
	s := u.shard(uid)
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

// each calls f with every shard, whose mu is held for reading.
func (u *users) each(f func(*userShard)) {
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.RLock()
		f(s)
		s.mu.RUnlock()
	}
}

// Bind has the connection found by the uid, until it ends or Unbind. It tells whether it was not before.
func (c *Conn) Bind(uid string) (bool, error) {
	u := &c.uids
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.ended:
		return false, ErrClosed
	case slices.Contains(u.list, uid):
		return false, nil
	case len(u.list) >= maxUsers:
		return false, ErrTooManyUsers
	}
	u.list = append(u.list, uid)
	c.hub.users.add(c, uid)
	return true, nil
}

// Unbind undoes Bind. It tells whether there was something to undo.
func (c *Conn) Unbind(uid string) bool {
	u := &c.uids
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(u.list, uid)
	if i < 0 {
		return false
	}
	u.list = slices.Delete(u.list, i, i+1)
	c.hub.users.remove(c, uid)
	return true
}

// Users are the uids that the connection is bound to.
func (c *Conn) Users() []string {
	c.uids.mu.Lock()
	defer c.uids.mu.Unlock()
	return slices.Clone(c.uids.list)
}

// leaveAll takes the connection out of its rooms and the index by uid, for good, and returns the rooms.
func (c *Conn) leaveAll() []string {
	rooms := c.LeaveAll()
	u := &c.uids
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	for _, uid := range u.list {
		c.hub.users.remove(c, uid)
	}
	u.list = nil
	return rooms
}

// User is the uid's connections here, in the order in which they were bound.
func (h *Hub) User(uid string) []*Conn {
	s := h.users.shard(uid)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.conns[uid])
}

// UserCount is the number of uids with connections here.
func (h *Hub) UserCount() (n int) {
	h.users.each(func(s *userShard) { n += len(s.conns) })
	return n
}

// UserNames are the uids with connections here, in no order.
func (h *Hub) UserNames() (names []string) {
	h.users.each(func(s *userShard) {
		for uid := range s.conns {
			names = append(names, uid)
		}
	})
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
