package workers

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"wsframe/framework/gateway"
	"wsframe/framework/gateway/environ"
)

// client is one client and the events that its worker has not got yet. Table.mu guards what
// changes and is not atomic.
type client struct {
	table *Table
	conn  gateway.Conn // nil = of a client that a dead node had
	about header

	silent atomic.Int32 // beats since the last message
	paused atomic.Bool  // not read, since events wait

	worker  *worker // nil = none yet
	wants   string  // the key of the worker that it had before a reload
	known   bool    // a worker has got EventConnect
	expired bool    // no worker came in time: it is being closed
	over    bool    // the connection has ended
	session []byte  // the last one, once over
	counted bool    // in Table.gone
	size    int     // what is counted: bytes of events and session

	events []event // which wait
	list   *list.List
	place  *list.Element // in list
	since  time.Time     // when it began to wait for any worker
}

// event is one event of a client.
type event struct {
	command gateway.Command
	body    []byte
}

// header is what each frame about a client tells.
type header struct {
	connection  uint32
	localIP     uint32
	clientIP    uint32
	localPort   uint16
	clientPort  uint16
	gatewayPort uint16
}

// newHeader returns the header of a client of a gateway.
func newHeader(id gateway.ClientID, remote netip.AddrPort, port uint16) header {
	return header{
		connection: id.Connection,
		localIP:    ipv4(id.Gateway.Addr()), localPort: id.Gateway.Port(),
		clientIP: ipv4(remote.Addr()), clientPort: remote.Port(), gatewayPort: port,
	}
}

// ipv4 returns an address as a number; 0 for IPv6.
func ipv4(a netip.Addr) uint32 {
	if a = a.Unmap(); !a.Is4() {
		return 0
	}
	four := a.As4()
	return binary.BigEndian.Uint32(four[:])
}

// frame returns the frame of an event.
func (h header) frame(e event, session []byte) gateway.Frame {
	f := gateway.Frame{
		Command: e.command, Connection: h.connection, LocalIP: h.localIP, LocalPort: h.localPort,
		ClientIP: h.clientIP, ClientPort: h.clientPort, GatewayPort: h.gatewayPort,
		Flag: gateway.FlagBytes, Ext: session, Body: e.body,
	}
	if e.command == gateway.EventWebSocketConnect {
		f.Flag = 0
	}
	return f
}

// Open implements gateway.Clients.
func (t *Table) Open(c gateway.Conn, o gateway.Opening) gateway.ConnEvents {
	id := gateway.ClientID{Gateway: t.config.Gateway, Connection: c.ID()}
	one := &client{table: t, conn: c, about: newHeader(id, o.Remote, o.Port)}
	one.events = []event{
		{command: gateway.EventConnect},
		{gateway.EventWebSocketConnect, environ.Append(nil, o)},
	}
	t.beats.add(one)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deliver(one)
	return one
}

// Message implements gateway.ConnEvents.
func (c *client) Message(payload []byte) {
	c.silent.Store(0)
	t := c.table
	t.mu.Lock()
	defer t.mu.Unlock()
	e := event{gateway.EventMessage, payload}
	switch {
	case c.expired:
	case len(c.events) > 0:
		c.keep(e)
	case !t.send(c, e):
		c.keep(e)
		t.hold(c)
	}
}

// keep adds an event to those that wait.
func (c *client) keep(e event) {
	e.body = bytes.Clone(e.body)
	c.events = append(c.events, e)
}

// Closed implements gateway.ConnEvents. A client of which no worker knows leaves no event.
func (c *client) Closed(session []byte) {
	t := c.table
	t.beats.remove(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	c.over, c.session = true, session
	if c.expired && !c.known {
		t.forget(c)
		return
	}
	c.events = append(c.events, event{command: gateway.EventClose})
	t.tellGone(c)
}

// told reports whether nothing will be sent any more.
func (c *client) told() bool { return c.over && len(c.events) == 0 }

// choose gives the client to a worker.
func (c *client) choose(w *worker) {
	c.worker, c.wants = w, ""
	w.clients++
}

// leave takes the client out of the list in which it waits.
func (c *client) leave() {
	if c.list != nil {
		c.list.Remove(c.place)
		c.list, c.place = nil, nil
	}
}

// pause stops reading until the events have been sent.
func (c *client) pause() {
	if !c.over && !c.paused.Swap(true) {
		c.conn.Pause()
	}
}

// resume ends pause.
func (c *client) resume() {
	if !c.over && c.paused.Swap(false) {
		c.conn.Resume()
	}
}
