package hub

import (
	"hash/maphash"
	"slices"
	"sync"
)

const maxUsers = 16

// users is the index of connections by uid. C is a connection.
type users[C comparable] struct {
	seed   maphash.Seed
	shards [userShards]userShard[C]
}

const userShards = 64

type userShard[C comparable] struct {
	mu    sync.RWMutex
	conns map[string][]C
}

func (u *users[C]) init() {
	u.seed = maphash.MakeSeed()
	for i := range u.shards {
		u.shards[i].conns = map[string][]C{}
	}
}

func (u *users[C]) shard(uid string) *userShard[C] {
	return &u.shards[maphash.String(u.seed, uid)%userShards]
}

func (u *users[C]) add(c C, uid string) {
	s := u.shard(uid)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[uid] = append(s.conns[uid], c)
}

func (u *users[C]) remove(c C, uid string) {
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

// each calls f for every shard, with its mu held for reading.
func (u *users[C]) each(f func(*userShard[C])) {
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.RLock()
		f(s)
		s.mu.RUnlock()
	}
}

// get returns the uid's connections, in the order in which they were bound.
func (u *users[C]) get(uid string) []C {
	s := u.shard(uid)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.conns[uid])
}

// Bound is the set of uids to which one connection, a C, is bound.
type Bound[C comparable] struct {
	c     C
	users *users[C]

	mu    sync.Mutex
	list  []string
	ended bool // the connection has ended, and Bind fails
}

// Bind makes the connection found by the uid, until Unbind or its end. The result is false if it
// was bound before.
func (b *Bound[C]) Bind(uid string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
		return false, ErrClosed
	case slices.Contains(b.list, uid):
		return false, nil
	case len(b.list) >= maxUsers:
		return false, ErrTooManyUsers
	}
	b.list = append(b.list, uid)
	b.users.add(b.c, uid)
	return true, nil
}

// Unbind undoes Bind. The result is false if the connection was not bound.
func (b *Bound[C]) Unbind(uid string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.list, uid)
	if i < 0 {
		return false
	}
	b.list = slices.Delete(b.list, i, i+1)
	b.users.remove(b.c, uid)
	return true
}

// Users returns the uids to which the connection is bound.
func (b *Bound[C]) Users() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// unbindAll removes the connection from the index, for good.
func (b *Bound[C]) unbindAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for _, uid := range b.list {
		b.users.remove(b.c, uid)
	}
	b.list = nil
}
