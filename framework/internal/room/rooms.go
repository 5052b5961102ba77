package room

import (
	"hash/maphash"
	"sync"
	"time"

	"wsframe/framework/internal/wire"
)

// Interest knows which rooms have members in this process. Its methods must not block, since they
// are called under a lock of this package.
type Interest interface {
	Add(room string)    // it has its first member
	Remove(room string) // it has lost its last one
}

// Config of Rooms. All fields are needed but Interest.
type Config struct {
	Flush          time.Duration // tick of a busy room; negative: every publish is written at once
	OutboxBytes    int           // capacity of a member's outbox
	OutboxMessages int           // capacity of a member's outbox, in frames
	PerMember      int           // most rooms of a member

	Everyone func() []*Member // the receivers of a Broadcast
	Count    func() int       // the number of these

	Interest Interest // nil = nobody wants to know which rooms there are

	// Translate returns a frame in the dialect of a member. nil = all members are native.
	Translate func(f wire.Frame, d wire.Dialect) wire.Frame
}

const shardCount = 64

type shard struct {
	mu    sync.Mutex
	rooms map[string]*Room
}

// Rooms are the rooms that have members in this process.
type Rooms struct {
	cfg      Config
	seed     maphash.Seed
	shards   [shardCount]shard
	everyone *Room // the receivers of a Broadcast
}

// New makes a Rooms without rooms. It starts no goroutine.
func New(cfg Config) *Rooms {
	rs := &Rooms{cfg: cfg, seed: maphash.MakeSeed()}
	for i := range rs.shards {
		rs.shards[i].rooms = map[string]*Room{}
	}
	rs.everyone = newRoom("", &rs.cfg)
	rs.everyone.everyone = true
	return rs
}

func (rs *Rooms) shard(name string) *shard {
	return &rs.shards[maphash.String(rs.seed, name)%shardCount]
}

// room is the room of that name, or nil.
func (rs *Rooms) room(name string) *Room {
	s := rs.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[name]
}

// Publish sends the frame to every member of the room and returns the number of members. All
// members get the frames of a room in one order. A caller waits only for the running fan-out, and
// only in a room where 256 KiB or half an outbox are pending.
func (rs *Rooms) Publish(name string, f wire.Frame) int {
	r := rs.room(name)
	if r == nil {
		return 0
	}
	return r.publish(f)
}

// Broadcast sends the frame to everyone, as Publish does to a room's members, and returns the
// number of receivers.
func (rs *Rooms) Broadcast(f wire.Frame) int { return rs.everyone.publish(f) }

// Members is the number of members of the room.
func (rs *Rooms) Members(name string) int {
	r := rs.room(name)
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members.list)
}

// MembersOf are the members of the room, in no order. The slice must not be changed.
func (rs *Rooms) MembersOf(name string) []*Member {
	r := rs.room(name)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot()
}

// RoomNames are the rooms that have members, in no order.
func (rs *Rooms) RoomNames() []string {
	var names []string
	rs.each(func(s *shard) {
		for name := range s.rooms {
			names = append(names, name)
		}
	})
	return names
}

// RoomCount is the number of rooms that have members.
func (rs *Rooms) RoomCount() (n int) {
	rs.each(func(s *shard) { n += len(s.rooms) })
	return n
}

// each calls f with every shard, whose mu is held.
func (rs *Rooms) each(f func(*shard)) {
	for i := range rs.shards {
		s := &rs.shards[i]
		s.mu.Lock()
		f(s)
		s.mu.Unlock()
	}
}

// enter adds m to the room, and makes the room for its first member. joined is called under
// Room.mu. m.mu is held.
func (rs *Rooms) enter(m *Member, name string, joined func(*Room)) *Room {
	s := rs.shard(name)
	s.mu.Lock()
	r := s.rooms[name]
	if r == nil {
		r = newRoom(name, &rs.cfg)
		s.rooms[name] = r
		if rs.cfg.Interest != nil {
			rs.cfg.Interest.Add(name)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Unlock() // only a room without members is removed, and r.mu is held until m is a member
	r.members.add(m, &r.written)
	joined(r)
	return r
}

// leave removes m from the room, and the room with its last member. m.mu is held.
func (rs *Rooms) leave(m *Member, r *Room) {
	s := rs.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members.remove(m)
	if len(r.members.list) == 0 {
		delete(s.rooms, r.name)
		if rs.cfg.Interest != nil {
			rs.cfg.Interest.Remove(r.name)
		}
	}
}

// Flush writes everything that was published to the room before, without waiting for its tick. It
// returns when the members' outboxes have it; a fan-out never blocks.
func (rs *Rooms) Flush(name string) {
	if r := rs.room(name); r != nil {
		r.flushNow()
	}
}

// FlushEveryone is Flush for what was broadcast.
func (rs *Rooms) FlushEveryone() { rs.everyone.flushNow() }

// After calls f when the members' outboxes have everything that was published to the room before.
// It returns at once.
func (rs *Rooms) After(name string, f func()) {
	var rooms []*Room
	if r := rs.room(name); r != nil {
		rooms = append(rooms, r)
	}
	after(rooms, f)
}

// AfterMembers calls f when the outboxes have everything that was published before to any room of
// the members, and to everyone. It returns at once.
func (rs *Rooms) AfterMembers(members []*Member, f func()) {
	rooms := []*Room{rs.everyone}
	for _, m := range members {
		rooms = append(rooms, m.roomsNow()...)
	}
	after(rooms, f)
}

// SettleRooms returns when all outboxes have everything that was published before. That takes a
// tick at most.
func (rs *Rooms) SettleRooms() {
	rooms := []*Room{rs.everyone}
	rs.each(func(s *shard) {
		for _, r := range s.rooms {
			rooms = append(rooms, r)
		}
	})
	for _, r := range rooms {
		r.settle()
	}
}
