package workers

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"fmt"
	"slices"

	"wsframe/framework/gateway"
	"wsframe/library/packed"
)

// Flags of an exported client.
const (
	stateKnown = 1 << iota
	stateExpired
)

// Export implements gateway.ConnEvents: the client's worker and the events that wait.
func (c *client) Export() []byte {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	return c.append(nil)
}

// append appends the state of a client.
func (c *client) append(b []byte) []byte {
	var flags byte
	if c.known {
		flags |= stateKnown
	}
	if c.expired {
		flags |= stateExpired
	}
	key := c.wants
	if c.worker != nil && !c.worker.gone {
		key = c.worker.key
	}
	b = packed.AppendText(append(b, flags), key)
	b = binary.AppendVarint(b, int64(c.silent.Load()))
	h := c.about
	for _, n := range []uint32{h.connection, h.localIP, uint32(h.localPort), h.clientIP, uint32(h.clientPort), uint32(h.gatewayPort)} {
		b = binary.AppendVarint(b, int64(n))
	}
	b = binary.AppendUvarint(b, uint64(len(c.events)))
	for _, e := range c.events {
		b = packed.AppendText(append(b, byte(e.command)), e.body)
	}
	return b
}

// read reads what append has written.
func (c *client) read(r *packed.Reader) {
	flags := r.Byte()
	c.known, c.expired = flags&stateKnown != 0, flags&stateExpired != 0
	c.wants = r.Text()
	c.silent.Store(int32(r.Int()))
	c.about = header{
		connection: uint32(r.Int()), localIP: uint32(r.Int()), localPort: uint16(r.Int()),
		clientIP: uint32(r.Int()), clientPort: uint16(r.Int()), gatewayPort: uint16(r.Int()),
	}
	for n := r.Size(); n > 0; n-- {
		c.events = append(c.events, event{gateway.Command(r.Byte()), bytes.Clone(r.Bytes())})
	}
}

// Import implements gateway.Clients. The client waits for its worker to come, too, until Restored.
func (t *Table) Import(conn gateway.Conn, state []byte) (gateway.ConnEvents, error) {
	c := &client{table: t, conn: conn}
	r := packed.NewReader(state)
	c.read(&r)
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("state of client %d of a PHP worker: %w", conn.ID(), err)
	}
	t.beats.add(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want(c)
	t.deliver(c)
	return c, nil
}

// want gives an imported client to its worker, now or when that comes.
func (t *Table) want(c *client) {
	if c.wants == "" {
		return
	}
	if i := slices.IndexFunc(t.workers, func(w *worker) bool { return w.key == c.wants }); i >= 0 {
		c.choose(t.workers[i])
		return
	}
	if t.wanted == nil {
		t.wanted = map[string][]*client{}
	}
	t.wanted[c.wants] = append(t.wanted[c.wants], c)
}

// Restored ends a reload, when all clients and workers have come: clients whose worker did not
// come choose another.
func (t *Table) Restored() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, list := range t.wanted {
		for _, c := range list {
			c.wants = ""
		}
	}
	t.wanted = nil
	t.deliverOrphans()
}

// ExportGone returns the events of clients that have gone, for ImportGone in the next process.
func (t *Table) ExportGone() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	lists := []*list.List{&t.orphans}
	for _, w := range t.workers {
		lists = append(lists, &w.queue)
	}
	var b []byte
	for _, l := range lists {
		for e := l.Front(); e != nil; e = e.Next() {
			if c := e.Value.(*client); c.over {
				b = c.append(packed.AppendText(b, c.session))
			}
		}
	}
	return b
}

// ImportGone takes what ExportGone returned in the previous process.
func (t *Table) ImportGone(state []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for r := packed.NewReader(state); r.More(); {
		c := &client{table: t, over: true, session: bytes.Clone(r.Bytes())}
		c.read(&r)
		if err := r.Err(); err != nil {
			return fmt.Errorf("state of ended clients of PHP workers: %w", err)
		}
		t.want(c)
		t.tellGone(c)
	}
	return nil
}

// Departed implements gateway.Clients. The end is told as any other.
func (t *Table) Departed(d gateway.Departed) {
	c := &client{
		table: t, about: newHeader(d.ID, d.Remote, d.Port), known: true, over: true,
		session: bytes.Clone(d.Session), events: []event{{command: gateway.EventClose}},
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tellGone(c)
}
