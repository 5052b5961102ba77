package gateway

import (
	"encoding/binary"

	"wsframe/library/phpserialize"
)

// putLength writes the length of an answer into its first four bytes.
func putLength(answer []byte) { binary.BigEndian.PutUint32(answer, uint32(len(answer)-4)) }

// An answer's elements are counted before they are written, because serialize() begins with their
// number. A client that goes in between is left out.
type rows struct {
	count int
	body  []byte
}

// append appends the array of the rows.
func (r *rows) append(b []byte) []byte {
	b = phpserialize.AppendArray(b, r.count)
	return phpserialize.EndArray(append(b, r.body...))
}

// nothing is the answer to a question that cannot be read.
func nothing(b []byte) []byte { return phpserialize.EndArray(phpserialize.AppendArray(b, 0)) }

func (c *Commands) isOnline(f Frame, b []byte) []byte {
	if c.Backend.Online(f.Connection) {
		return phpserialize.AppendInt(b, 1)
	}
	return phpserialize.AppendInt(b, 0)
}

func (c *Commands) allSessions(_ Frame, b []byte) []byte {
	return c.sessions(b, c.Backend.Clients())
}

func (c *Commands) sessionsByGroup(f Frame, b []byte) []byte {
	if !valid(f.Ext) {
		return nothing(b)
	}
	return c.sessions(b, c.Backend.ClientsInGroup(string(f.Ext)))
}

// sessions appends the sessions of connections, each as a string.
func (c *Commands) sessions(b []byte, ids []uint32) []byte {
	var r rows
	for _, id := range ids {
		if client, ok := c.Backend.Client(id, FieldSession); ok {
			r.count++
			r.body = phpserialize.AppendInt(r.body, int64(id))
			r.body = phpserialize.AppendString(r.body, client.Session)
		}
	}
	return r.append(b)
}

func (c *Commands) sessionByClient(f Frame, b []byte) []byte {
	client, ok := c.Backend.Client(f.Connection, FieldSession)
	switch {
	case !ok:
		return phpserialize.AppendNull(b)
	case len(client.Session) == 0:
		return nothing(b)
	}
	return append(b, client.Session...)
}

// appendIDs appends a list of connection_ids.
func appendIDs(b []byte, ids []uint32) []byte {
	b = phpserialize.AppendArray(b, len(ids))
	for i, id := range ids {
		b = phpserialize.AppendInt(b, int64(i))
		b = phpserialize.AppendInt(b, int64(id))
	}
	return phpserialize.EndArray(b)
}

func (c *Commands) clientsByUID(f Frame, b []byte) []byte {
	if !valid(f.Ext) {
		return nothing(b)
	}
	return appendIDs(b, c.Backend.ClientsOfUID(string(f.Ext)))
}

// batch appends an array with one element for each name of a command, in their order.
func (c *Commands) batch(f Frame, b []byte, element func(b []byte, name string) []byte) []byte {
	doc, ok := c.asked(f)
	if !ok {
		return nothing(b)
	}
	var r rows
	once(names(doc), func(name string) {
		r.count++
		r.body = element(phpserialize.AppendKey(r.body, name), name)
	})
	return r.append(b)
}

func (c *Commands) batchClientsByUID(f Frame, b []byte) []byte {
	return c.batch(f, b, func(b []byte, uid string) []byte {
		return appendIDs(b, c.Backend.ClientsOfUID(uid))
	})
}

func (c *Commands) countByGroup(f Frame, b []byte) []byte {
	n := 0
	switch {
	case len(f.Ext) == 0:
		n = c.Backend.CountClients()
	case valid(f.Ext):
		n = c.Backend.CountInGroup(string(f.Ext))
	}
	return phpserialize.AppendInt(b, int64(n))
}

func (c *Commands) batchCountByGroup(f Frame, b []byte) []byte {
	return c.batch(f, b, func(b []byte, group string) []byte {
		return phpserialize.AppendInt(b, int64(c.Backend.CountInGroup(group)))
	})
}

func (c *Commands) groups(_ Frame, b []byte) []byte {
	list := c.Backend.Groups()
	b = phpserialize.AppendArray(b, len(list))
	for i, group := range list {
		b = phpserialize.AppendInt(b, int64(i))
		b = phpserialize.AppendKey(b, group)
	}
	return phpserialize.EndArray(b)
}
