package clients

import (
	"slices"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
)

// all returns the connections of this node.
func (cs *Clients) all() []*hub.Conn {
	list := make([]*hub.Conn, 0, cs.cfg.Hub.Len())
	cs.cfg.Hub.Each(func(c *hub.Conn) bool { list = append(list, c); return true })
	return list
}

// lists answers what PHP asks (gateway.Lists).
type lists struct{ of *Clients }

// Online implements gateway.Backend.
func (l lists) Online(id uint32) bool { return l.of.conn(id) != nil }

// Clients implements gateway.Backend.
func (l lists) Clients() []uint32 { return ids(l.of.all()) }

// ClientsOfUID implements gateway.Backend.
func (l lists) ClientsOfUID(uid string) []uint32 {
	return ids(l.of.cfg.Hub.User(names.EscapeUID(uid)))
}

// ClientsInGroup implements gateway.Backend.
func (l lists) ClientsInGroup(group string) []uint32 {
	return ids(l.of.cfg.Hub.RoomMembers(names.EscapeRoom(group)))
}

// CountClients implements gateway.Backend.
func (l lists) CountClients() int { return count(l.of.all()) }

// CountInGroup implements gateway.Backend.
func (l lists) CountInGroup(group string) int {
	return count(l.of.cfg.Hub.RoomMembers(names.EscapeRoom(group)))
}

// Groups implements gateway.Backend.
func (l lists) Groups() []string {
	list := l.of.cfg.Hub.RoomNames()
	for i, name := range list {
		list[i] = names.Unescape(name)
	}
	return list
}

// Client implements gateway.Backend.
func (l lists) Client(id uint32, fields gateway.Fields) (found gateway.Client, ok bool) {
	c := l.of.conn(id)
	if c == nil {
		return found, false
	}
	php := session.Of(c).PHP()
	if fields&gateway.FieldUID != 0 {
		found.UID = l.of.uidOf(c)
	}
	if fields&gateway.FieldGroups != 0 {
		found.Groups = groups(c.Rooms(), php.Grouped)
	}
	if fields&gateway.FieldSession != 0 {
		found.Session = php.Bytes
	}
	return found, true
}

// groups returns the groups of a client; nil = it never was in one, as far as PHP knows.
func groups(rooms []string, joined bool) []string {
	if len(rooms) == 0 && !joined {
		return nil
	}
	list := slices.Clone(rooms)
	for i, name := range list {
		list[i] = names.Unescape(name)
	}
	if list == nil {
		list = []string{}
	}
	return list
}
