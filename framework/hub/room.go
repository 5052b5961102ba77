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
	name string
	hub  *Hub

	mu      sync.Mutex
	members []*Conn         // in no order
	place   map[*Conn]int32 // index in members
	shared  []*Conn         // an immutable copy of members for the fan-out; nil when members changed
	pending []byte
	frames  int
	since   time.Time  // when the first of pending was published
	sending bool       // a fan-out runs, or a tick is armed: it will take what is pending
	taken   *sync.Cond // signalled when pending was taken
	last    time.Time  // of the last publish
	gap     time.Duration
}

// maxPending bounds what a room collects during one fan-out; publishers wait beyond it, for that fan-out only, which
// never blocks.
const maxPending = 256 << 10

// enough is what is written without waiting for the tick.
const enough = 32 << 10

func (h *Hub) roomShard(name string) *roomShard {
	var f uint32 = 2166136261
	for i := range len(name) {
		f = (f ^ uint32(name[i])) * 16777619
	}
	return &h.rooms[f%shardCount]
}

// Join adds the connection to the room. It tells whether it was not in it before.
func (h *Hub) Join(c *Conn, name string) (bool, error) {
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
		r = &Room{name: name, hub: h, gap: time.Second, place: map[*Conn]int32{}}
		r.taken = sync.NewCond(&r.mu)
		s.rooms[name] = r
	}
	r.mu.Lock()
	c.rooms = append(c.rooms, r)
	r.place[c] = int32(len(r.members))
	r.members = append(r.members, c)
	r.shared = nil
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
	return true
}

// leave removes c from the room's members. c.memberMu is held.
func (h *Hub) leave(c *Conn, r *Room) {
	s := h.roomShard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.place[c]; ok {
		last := len(r.members) - 1
		moved := r.members[last]
		r.members[i], r.place[moved] = moved, i
		r.members[last] = nil
		r.members = r.members[:last]
		delete(r.place, c)
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

// Publish sends the frame to every local member of the room and returns how many there are. All members get the frames of
// a room in one order. It costs no wait in a quiet room; in one whose fan-out is behind by 256 KiB the caller waits for
// the running fan-out.
func (h *Hub) Publish(name string, f Frame) int {
	r := h.room(name)
	if r == nil {
		return 0
	}
	return r.publish(f)
}

// inlineMembers is up to how many members the publisher's own goroutine writes to; more are written by another, so that
// the publisher's own reply does not wait for thousands of writes.
const inlineMembers = 32

func (r *Room) publish(f Frame) int {
	now := time.Now()
	r.mu.Lock()
	for len(r.pending) >= maxPending {
		r.taken.Wait()
	}
	n := len(r.members)
	r.gap = (r.gap*7 + min(now.Sub(r.last), time.Second)) / 8
	r.last = now
	if len(r.pending) == 0 {
		r.since = now
	}
	if r.sending {
		r.pending = append(r.pending, f.b...)
		r.frames += f.n
		r.mu.Unlock()
		return n
	}
	r.sending = true
	if tick := r.hub.cfg.RoomFlush; tick > 0 && r.gap < 2*tick && n > 1 {
		r.pending = append(r.pending, f.b...)
		r.frames += f.n
		r.mu.Unlock()
		time.AfterFunc(tick, r.flush)
		return n
	}
	members := r.snapshot()
	r.mu.Unlock()
	if n > inlineMembers {
		go r.fanOut(members, f)
		return n
	}
	r.fanOut(members, f)
	return n
}

// fanOut writes f to the members, then what was published meanwhile.
func (r *Room) fanOut(members []*Conn, f Frame) {
	for _, c := range members {
		_ = c.Send(f) // a member that is slow or gone is its own close path's business
	}
	r.mu.Lock()
	if len(r.pending) == 0 {
		r.sending = false
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	if len(members) > inlineMembers {
		r.flush()
		return
	}
	go r.flush()
}

// flush writes what is pending, as one shared buffer, and what came meanwhile a tick later.
func (r *Room) flush() {
	for {
		r.mu.Lock()
		if len(r.pending) == 0 {
			r.sending = false
			r.mu.Unlock()
			return
		}
		// What is younger than a tick has time for company, unless it is much already.
		if wait := r.hub.cfg.RoomFlush - time.Since(r.since); wait > 0 && len(r.pending) < enough {
			r.mu.Unlock()
			time.AfterFunc(wait, r.flush)
			return
		}
		f := Frame{r.pending, r.frames}
		// The next one grows in memory of its own: this one may wait in outboxes.
		r.pending, r.frames = make([]byte, 0, len(f.b)), 0
		members := r.snapshot()
		r.taken.Broadcast()
		r.mu.Unlock()
		for _, c := range members {
			_ = c.Send(f)
		}
	}
}

// snapshot is the members as an immutable slice. r.mu is held.
func (r *Room) snapshot() []*Conn {
	if r.shared == nil {
		r.shared = slices.Clone(r.members)
	}
	return r.shared
}
