package hub

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrTooManyRooms is returned by Join on a connection that is in as many rooms as it may be.
var ErrTooManyRooms = errors.New("connection is in too many rooms")

type roomShard struct {
	mu    sync.Mutex
	rooms map[string]*Room
}

// Room is the local index of one room's members, and what waits to be written to all of them.
//
// A publish into a quiet room is written at once. While a fan-out runs, or when publishes come faster than two a tick,
// frames are collected and leave as one shared buffer for all members: one write per member and tick.
type Room struct {
	name     string
	hub      *Hub
	everyone bool // all connections are members; they are not listed here

	mu      sync.Mutex
	members []*Conn        // in no order
	seats   map[*Conn]seat // of each member
	shared  []*Conn        // an immutable copy of members for the fan-out; nil when members changed
	pending []segment
	bytes   int    // of pending
	frames  int    // likewise
	first   int64  // the first and the last position in the room's history that was written here; 0 = none
	last    int64  // Both are of one epoch.
	epoch   string // of these
	epochs  uint32 // how often that has changed
	reached Mark   // what was published last
	until   Mark   // nothing up to it comes again: it was missed, and given from the history
	held    *Hold  // non-nil: what is published is kept back
	place   place
	since   time.Time     // when the first of pending was published
	sending bool          // a fan-out runs, or a tick is armed: it will take what is pending
	taken   *sync.Cond    // signalled when pending was taken
	written *sync.Cond    // signalled when a fan-out has ended
	fanOuts int           // that have ended
	busy    time.Time     // of the last publish
	gap     time.Duration // average time between publishes, longGap at most
}

// seat is a member's place in Room.members, and the room's last position when it joined.
type seat struct {
	index  int32
	epochs uint32
	last   int64
}

func (h *Hub) roomShard(name string) *roomShard {
	return &h.rooms[shardOf(name)]
}

// shardOf hashes by FNV-1a.
func shardOf(name string) uint32 {
	var f uint32 = 2166136261
	for i := range len(name) {
		f = (f ^ uint32(name[i])) * 16777619
	}
	return f % shardCount
}

func (h *Hub) newRoom(name string) *Room {
	r := &Room{name: name, hub: h, gap: h.longGap(), seats: map[*Conn]seat{}}
	r.taken, r.written = sync.NewCond(&r.mu), sync.NewCond(&r.mu)
	return r
}

// Join adds the connection to the room. It tells whether it was not in it before.
func (h *Hub) Join(c *Conn, name string) (bool, error) { return h.join(c, name, func(*Room) {}) }

// join calls entered when the connection has come in. The room's mu is held then.
func (h *Hub) join(c *Conn, name string, entered func(*Room)) (bool, error) {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	if c.gone {
		return false, ErrClosed
	}
	if c.roomIndex(name) >= 0 {
		return false, nil
	}
	if len(c.rooms) >= h.cfg.RoomsPerConn {
		return false, ErrTooManyRooms
	}
	s := h.roomShard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[name]
	if r == nil {
		r = h.newRoom(name)
		s.rooms[name] = r
	}
	r.mu.Lock()
	c.rooms = append(c.rooms, r)
	r.seats[c] = seat{int32(len(r.members)), r.epochs, r.last}
	r.members = append(r.members, c)
	r.shared = nil
	entered(r)
	r.mu.Unlock()
	return true, nil
}

// Leave takes the connection out of the room. It tells whether it was in it.
func (h *Hub) Leave(c *Conn, name string) bool {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	i := c.roomIndex(name)
	if i < 0 {
		return false
	}
	h.leave(c, c.rooms[i])
	c.rooms = slices.Delete(c.rooms, i, i+1)
	if u := c.behindIn(name); u != nil {
		c.forget(u)
	}
	return true
}

// leave removes c from the room's members. c.memberMu is held.
func (h *Hub) leave(c *Conn, r *Room) {
	s := h.roomShard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.seats[c]; ok {
		last := len(r.members) - 1
		moved := r.members[last]
		seat := r.seats[moved]
		seat.index = at.index
		r.members[at.index], r.seats[moved] = moved, seat
		r.members[last] = nil
		r.members = r.members[:last]
		delete(r.seats, c)
		r.shared = nil
	}
	if len(r.members) == 0 {
		delete(s.rooms, r.name)
	}
}

func (c *Conn) leaveAll() []string {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	c.gone = true
	names := make([]string, 0, len(c.rooms))
	for _, r := range c.rooms {
		names = append(names, r.name)
		c.hub.leave(c, r)
	}
	c.rooms = nil
	for _, uid := range c.uids {
		c.hub.unbind(c, uid)
	}
	c.uids = nil
	return names
}

// Rooms are the names of the rooms the connection is in.
func (c *Conn) Rooms() []string {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	names := make([]string, len(c.rooms))
	for i, r := range c.rooms {
		names[i] = r.name
	}
	return names
}

// roomIndex is the room's place in c.rooms, or -1. c.memberMu is held.
func (c *Conn) roomIndex(name string) int {
	return slices.IndexFunc(c.rooms, func(r *Room) bool { return r.name == name })
}

// InRoom tells whether the connection is in the room.
func (c *Conn) InRoom(name string) bool {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	return c.roomIndex(name) >= 0
}

func (h *Hub) room(name string) *Room {
	s := h.roomShard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[name]
}

// Members is the number of local members of the room.
func (h *Hub) Members(name string) int {
	r := h.room(name)
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members)
}

// RoomNames are the rooms with local members, in no order.
func (h *Hub) RoomNames() []string {
	var names []string
	for i := range h.rooms {
		s := &h.rooms[i]
		s.mu.Lock()
		for name := range s.rooms {
			names = append(names, name)
		}
		s.mu.Unlock()
	}
	return names
}

// RoomMembers are the local members of the room, in no order. It must not be changed.
func (h *Hub) RoomMembers(name string) []*Conn {
	r := h.room(name)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot()
}

// RoomCount is the number of rooms with local members.
func (h *Hub) RoomCount() int {
	n := 0
	for i := range h.rooms {
		h.rooms[i].mu.Lock()
		n += len(h.rooms[i].rooms)
		h.rooms[i].mu.Unlock()
	}
	return n
}

func (c *Conn) memberships() []*Room {
	c.memberMu.Lock()
	defer c.memberMu.Unlock()
	return append(slices.Clone(c.rooms), c.hub.everyone)
}
