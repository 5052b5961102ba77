package room

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"wsframe/framework/internal/wire"
)

var (
	// ErrTooManyRooms is returned by Join of a member that is in as many rooms as it may be.
	ErrTooManyRooms = errors.New("connection is in too many rooms")
	// ErrClosed is returned by Join after LeaveAll.
	ErrClosed = errors.New("connection is closed")
)

// Outbox takes what is sent to a member. Its methods must not block, since they are called under
// locks of this package.
type Outbox interface {
	// Send queues one frame, or several in one buffer. The outbox itself closes a slow member.
	Send(wire.Frame) error
	// SendAll queues the pushes that a member missed, as one write and as one frame for the limit
	// of the outbox.
	SendAll([]wire.Frame)
	// Close ends the member's connection.
	Close(code int, reason string)
}

// Member is the part of a connection that is in rooms. It belongs into the connection's own struct.
type Member struct {
	FD      int64
	Dialect wire.Dialect // of the outbox; set before Init
	rooms   *Rooms
	outbox  Outbox

	mu       sync.Mutex
	joined   []*Room
	catchUps []*CatchUp
	closed   bool // after LeaveAll

	catchingUp atomic.Int32 // len(catchUps), to be read without the lock
	keeping    atomic.Int32 // CatchUps that are open
}

// Init makes a Member, before its first use.
func (m *Member) Init(rooms *Rooms, fd int64, outbox Outbox) {
	m.rooms, m.FD, m.outbox = rooms, fd, outbox
}

// Outbox is the member's, as Init got it.
func (m *Member) Outbox() Outbox { return m.outbox }

// Join adds the member to the room, and tells whether the member was not in it before. ErrClosed
// after LeaveAll, ErrTooManyRooms at the limit of Config.PerMember.
func (m *Member) Join(room string) (bool, error) { return m.join(room, func(*Room) {}) }

// join is Join. It calls entered under Room.mu once the member is in the room.
func (m *Member) join(room string, entered func(*Room)) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return false, ErrClosed
	case m.index(room) >= 0:
		return false, nil
	case len(m.joined) >= m.rooms.cfg.PerMember:
		return false, ErrTooManyRooms
	}
	m.joined = append(m.joined, m.rooms.enter(m, room, entered))
	return true, nil
}

// Leave takes the member out of the room, and tells whether the member was in it.
func (m *Member) Leave(room string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.index(room)
	if i < 0 {
		return false
	}
	m.rooms.leave(m, m.joined[i])
	m.joined = slices.Delete(m.joined, i, i+1)
	if u := m.catchUp(room); u != nil {
		m.forget(u)
	}
	return true
}

// LeaveAll takes the member out of all rooms and returns their names. The member can join none
// any more.
func (m *Member) LeaveAll() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	names := make([]string, 0, len(m.joined))
	for _, r := range m.joined {
		names = append(names, r.name)
		m.rooms.leave(m, r)
	}
	m.joined = nil
	return names
}

// Rooms are the names of the rooms that the member is in, in the order of its joins.
func (m *Member) Rooms() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, len(m.joined))
	for i, r := range m.joined {
		names[i] = r.name
	}
	return names
}

// InRoom tells whether the member is in the room.
func (m *Member) InRoom(room string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index(room) >= 0
}

// SettleRooms returns when the member's outbox has everything that was published to its rooms
// before. That takes a tick at most.
func (m *Member) SettleRooms() {
	for _, r := range append(m.roomsNow(), m.rooms.everyone) {
		r.settle()
	}
}

// index is the room's place in m.joined, or -1. m.mu is held.
func (m *Member) index(room string) int {
	return slices.IndexFunc(m.joined, func(r *Room) bool { return r.name == room })
}

func (m *Member) roomsNow() []*Room {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.joined)
}
