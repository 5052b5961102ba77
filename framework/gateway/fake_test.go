package gateway

import (
	"slices"
	"sync"
)

// fake is a Backend that keeps its clients as the original does.
type fake struct {
	mu      sync.Mutex
	clients []*fakeClient
	uids    map[string][]uint32 // by binding
	names   []string            // of groups, by their first joining
	members map[string][]uint32 // by joining
}

type fakeClient struct {
	id uint32
	Client
	got    []Message
	closed bool
}

func newFake(ids ...uint32) *fake {
	b := &fake{uids: map[string][]uint32{}, members: map[string][]uint32{}}
	for _, id := range ids {
		b.connect(id)
	}
	return b
}

func (b *fake) connect(id uint32) { b.clients = append(b.clients, &fakeClient{id: id}) }

// with calls do with a connected client.
func (b *fake) with(id uint32, do func(c *fakeClient)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.clients {
		if c.id == id && !c.closed {
			do(c)
			return
		}
	}
}

// send delivers to each listed connection, as often as it is listed.
func (b *fake) send(ids, exclude []uint32, m Message) {
	for _, id := range ids {
		if !slices.Contains(exclude, id) {
			b.with(id, func(c *fakeClient) { c.got = append(c.got, m) })
		}
	}
}

func (b *fake) ForPeer() Backend { return b }

func (b *fake) Settle() {}

func (b *fake) SendTo(ids []uint32, m Message)               { b.send(ids, nil, m) }
func (b *fake) SendToAll(exclude []uint32, m Message)        { b.send(b.Clients(), exclude, m) }
func (b *fake) SendToUID(uid string, m Message)              { b.send(b.ClientsOfUID(uid), nil, m) }
func (b *fake) SendToGroup(g string, ex []uint32, m Message) { b.send(b.ClientsInGroup(g), ex, m) }

func (b *fake) Kick(id uint32, last *Message) {
	b.with(id, func(c *fakeClient) {
		if last != nil {
			c.got = append(c.got, *last)
		}
		b.unbind(c)
		for _, group := range slices.Clone(c.Groups) {
			b.leave(c, group)
		}
		c.closed = true
	})
}

func (b *fake) Destroy(id uint32) { b.Kick(id, nil) }

func without(list []uint32, id uint32) []uint32 {
	return slices.DeleteFunc(slices.Clone(list), func(one uint32) bool { return one == id })
}

func (b *fake) unbind(c *fakeClient) {
	b.uids[c.UID] = without(b.uids[c.UID], c.id)
	c.UID = ""
}

func (b *fake) Bind(id uint32, uid string) {
	b.with(id, func(c *fakeClient) {
		b.unbind(c)
		c.UID = uid
		b.uids[uid] = append(b.uids[uid], id)
	})
}

func (b *fake) Unbind(id uint32) { b.with(id, b.unbind) }

func (b *fake) Join(id uint32, group string) {
	b.with(id, func(c *fakeClient) {
		if slices.Contains(c.Groups, group) {
			return
		}
		c.Groups = append(c.Groups, group)
		if len(b.members[group]) == 0 {
			b.names = append(b.names, group)
		}
		b.members[group] = append(b.members[group], id)
	})
}

func (b *fake) leave(c *fakeClient, group string) {
	if !slices.Contains(c.Groups, group) {
		return
	}
	c.Groups = slices.DeleteFunc(c.Groups, func(one string) bool { return one == group })
	b.members[group] = without(b.members[group], c.id)
	if len(b.members[group]) == 0 {
		b.names = slices.DeleteFunc(b.names, func(one string) bool { return one == group })
	}
}

func (b *fake) Leave(id uint32, group string) {
	b.with(id, func(c *fakeClient) { b.leave(c, group) })
}

func (b *fake) Ungroup(group string) {
	for _, id := range b.ClientsInGroup(group) {
		b.Leave(id, group)
	}
}

func (b *fake) SetSession(id uint32, change func(old []byte) ([]byte, bool)) {
	b.with(id, func(c *fakeClient) {
		if session, ok := change(c.Session); ok {
			c.Session = session
		}
	})
}

func (b *fake) Online(id uint32) (there bool) {
	b.with(id, func(*fakeClient) { there = true })
	return there
}

func (b *fake) Clients() (ids []uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.clients {
		if !c.closed {
			ids = append(ids, c.id)
		}
	}
	return ids
}

func (b *fake) ClientsOfUID(uid string) []uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.uids[uid]
}

func (b *fake) ClientsInGroup(group string) []uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.members[group]
}

func (b *fake) CountClients() int             { return len(b.Clients()) }
func (b *fake) CountInGroup(group string) int { return len(b.ClientsInGroup(group)) }

func (b *fake) Groups() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.names)
}

func (b *fake) Client(id uint32, _ Fields) (found Client, ok bool) {
	b.with(id, func(c *fakeClient) { found, ok = c.Client, true })
	return found, ok
}
