package session

import (
	"math/rand/v2"
	"slices"
	"strconv"

	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
)

// AnnouncedAs returns the uid under which the room announces this connection; "" = it does not.
func (s *Session) AnnouncedAs(room string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.announced[room]; !ok {
		return ""
	}
	return s.user
}

// chooseUser returns the uid under which rooms announce the connection: its token's id where that
// is bound, else the first bound uid; "" = none, since other connections with the same id may be
// other people's. The choice holds as long as the connection lives. mu is held.
func (s *Session) chooseUser(c *hub.Conn) string {
	if s.user == "" {
		if uids := c.Users(); slices.Contains(uids, c.Auth.ID) {
			s.user = c.Auth.ID
		} else if len(uids) > 0 {
			s.user = uids[0]
		}
	}
	return s.user
}

// present returns what a room's members learn of the connection. mu is held.
func (s *Session) present(c *hub.Conn, room string) cluster.Present {
	return cluster.Present{Room: room, ID: s.user, Nickname: c.Auth.Nickname}
}

// announce records that the room announces this connection, under a ticket until its members were
// notified. mu is held, or nobody else knows the session yet.
func (s *Session) announce(room, ticket string) {
	if s.announced == nil {
		s.announced = map[string]string{}
	}
	s.announced[room] = ticket
}

// Coming returns the pending announcement to a room. It has no Ticket where none is pending.
func (s *Session) Coming(c *hub.Conn, room string) cluster.Present {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.present(c, room)
	p.Ticket = s.announced[room]
	return p
}

// Unannounced lists the rooms whose announcement of this connection is pending.
func (s *Session) Unannounced() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rooms []string
	for room, ticket := range s.announced {
		if ticket != "" {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// Announced ends the pending announcement with that ticket, if done says that it was made. It
// reports whether the connection is still in the room under that ticket.
func (s *Session) Announced(room, ticket string, done bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.announced[room] == ticket
	if there && done {
		s.announced[room] = ""
	}
	return there
}

func newTicket() string { return strconv.FormatUint(rand.Uint64(), 36) }
