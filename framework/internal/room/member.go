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

// Outbox takes what a member is sent. Its methods must not block: they are called under locks of this package.
type Outbox interface {
	// Send queues one frame, or several in one buffer. A member that is slow or gone is the outbox's own business.
	Send(wire.Frame) error
	// SendAll queues what a member missed. It is one write, and counts as one frame against the outbox's limit.
	SendAll([]wire.Frame)
	// Close ends the member's connection.
	Close(code int, reason string)
}

// Member is one connection's part in rooms. It belongs into the connection's own struct.
type Member struct {
	FD     int64
	rooms  *Rooms
	outbox Outbox

	mu       sync.Mutex
	joined   []*Room
	catchUps []*CatchUp
	left     bool // for good

	catchingUp atomic.Int32 // len(catchUps), for those without the lock
	keeping    atomic.Int32 // how many of them keep something back
}

// Init makes a Member, before its first use.
func (m *Member) Init(rooms *Rooms, fd int64, outbox Outbox) {
	m.rooms, m.FD, m.outbox = rooms, fd, outbox
}

// Outbox is what Init was given.
func (m *Member) Outbox() Outbox { return m.outbox }

// Join adds the member to the room. It tells whether it was not in it before.
func (m *Member) Join(room string) (bool, error) { return m.join(room, func(*Room) {}) }

// join calls entered when the member has come in, under Room.mu.
func (m *Member) join(room string, entered func(*Room)) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.left:
		return false, ErrClosed
	case m.index(room) >= 0:
		return false, nil
	case len(m.joined) >= m.rooms.cfg.PerMember:
		return false, ErrTooManyRooms
	}
	m.joined = append(m.joined, m.rooms.enter(m, room, entered))
	return true, nil
}

// Leave takes the member out of the room. It tells whether it was in it.
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

// LeaveAll takes the member out of all rooms, for good, and returns their names.
func (m *Member) LeaveAll() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = true
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

// SettleRooms returns when the member's outbox has what was published to it before. That takes a tick at most.
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
