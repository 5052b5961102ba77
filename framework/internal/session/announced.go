package session

import (
	"math/rand/v2"
	"slices"
	"strconv"

	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
)

// Announces tells as whom this connection is announced in the room; "" = it is not.
func (s *Session) Announces(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.announced[name]; !ok {
		return ""
	}
	return s.user
}

// presentAs gives the uid under which the connection is announced: its token's id where that is bound, else the first one that is; "" =
// it has none, and others with its id may be other people. It stays the same as long as the connection lives. mu is held.
func (s *Session) presentAs(c *hub.Conn) string {
	if s.user == "" {
		if uids := c.Users(); slices.Contains(uids, c.Auth.ID) {
			s.user = c.Auth.ID
		} else if len(uids) > 0 {
			s.user = uids[0]
		}
	}
	return s.user
}

// present is what a room's members are told of the connection. mu is held.
func (s *Session) present(c *hub.Conn, name string) cluster.Present {
	return cluster.Present{Room: name, ID: s.user, Nickname: c.Auth.Nickname}
}

// announce has a room hear of this connection. mu is held, or nobody else knows the session yet.
func (s *Session) announce(name, ticket string) {
	if s.announced == nil {
		s.announced = map[string]string{}
	}
	s.announced[name] = ticket
}

// Coming is the announcement of a room which is not told yet; without a Ticket there is none.
func (s *Session) Coming(c *hub.Conn, name string) cluster.Present {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.present(c, name)
	p.Ticket = s.announced[name]
	return p
}

// Unannounced lists the rooms that have not heard of this connection yet.
func (s *Session) Unannounced() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rooms []string
	for name, ticket := range s.announced {
		if ticket != "" {
			rooms = append(rooms, name)
		}
	}
	return rooms
}

// Announced notes, where it is so, that the room knows of the coming with that ticket. It tells whether the connection is still in it.
func (s *Session) Announced(name, ticket string, so bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.announced[name] == ticket
	if there && so {
		s.announced[name] = ""
	}
	return there
}

// leave notes that the connection is no more in the room, where its room is to hear of it. owned = no other node may have announced it
// already. mu is held.
func (ss *Sessions) leave(c *hub.Conn, s *Session, name string, owned bool) {
	if ticket, ok := s.announced[name]; ok {
		delete(s.announced, name)
		ss.cfg.Cluster().Leaving(s.present(c, name), ticket == "" && owned)
	}
}

// Ended has the rooms hear of the end of a connection that was in them.
func (ss *Sessions) Ended(c *hub.Conn, rooms []string, owned bool) {
	s := Of(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range rooms {
		ss.leave(c, s, name, owned)
	}
}

func newTicket() string { return strconv.FormatUint(rand.Uint64(), 36) }
