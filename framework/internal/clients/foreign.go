package clients

import (
	"sync"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
)

// Foreign is a connection that came to the gateway's own port. It has no token and no routing: its
// messages are events for PHP workers.
type Foreign struct {
	clients *Clients
	conn    *hub.Conn
	events  gateway.ConnEvents // nil = nobody wants them
	reading gate
}

var (
	_ gateway.Conn       = (*Foreign)(nil)
	_ session.PHPForeign = (*Foreign)(nil)
)

// Open makes the Foreign of a new connection, which is not read yet. greeting is sent before
// anything else; "" = nothing.
func (cs *Clients) Open(c *hub.Conn, greeting string, o gateway.Opening) *Foreign {
	f := &Foreign{clients: cs, conn: c}
	if greeting != "" {
		send(c, text(greeting))
	}
	if events := cs.cfg.Events; events != nil {
		cs.note(c, o)
		f.events = events.Open(f, o)
	}
	session.Of(c).SetForeign(f)
	return f
}

// Imported makes the Foreign of a connection that comes from the previous process, if it was one.
func (cs *Clients) Imported(c *hub.Conn) error {
	events := cs.cfg.Events
	cs.Came(c.FD)
	s := session.Of(c)
	php := s.PHP()
	if !php.Foreign {
		return nil
	}
	s.ChangePHP(func(p *session.PHP) { p.Foreign, p.Events = false, nil })
	f := &Foreign{clients: cs, conn: c}
	if events != nil && len(php.Events) > 0 {
		var err error
		if f.events, err = events.Import(f, php.Events); err != nil {
			return err
		}
	}
	s.SetForeign(f)
	return nil
}

// Message implements session.Foreign. It waits while the client is paused.
func (f *Foreign) Message(payload []byte) {
	if f.events == nil {
		return
	}
	if open := f.reading.wait(); open != nil {
		select {
		case <-open:
		case <-f.conn.Done():
			return
		case <-f.clients.moving.shut():
		}
	}
	f.events.Message(payload)
}

// MessageInline implements session.Foreign.
func (f *Foreign) MessageInline(payload []byte) bool {
	if f.events != nil {
		if f.reading.wait() != nil {
			return false
		}
		f.events.Message(payload)
	}
	return true
}

// Closed implements session.Foreign.
func (f *Foreign) Closed() {
	if f.events != nil {
		f.events.Closed(f.Session())
	}
}

// Export implements session.Foreign.
func (f *Foreign) Export() []byte {
	if f.events == nil {
		return nil
	}
	return f.events.Export()
}

// ID implements gateway.Conn.
func (f *Foreign) ID() uint32 { return ID(f.conn.FD) }

// Session implements gateway.Conn.
func (f *Foreign) Session() []byte { return session.Of(f.conn).PHP().Bytes }

// Pause implements gateway.Conn.
func (f *Foreign) Pause() { f.reading.close() }

// Resume implements gateway.Conn.
func (f *Foreign) Resume() { f.reading.open() }

// Send implements gateway.Conn. A client that another process has gets nothing from this one.
func (f *Foreign) Send(m gateway.Message) {
	if _, moved := f.conn.Moving(); !moved {
		send(f.conn, m.Frame())
	}
}

// Close implements gateway.Conn, likewise.
func (f *Foreign) Close(code int, reason string) {
	if _, moved := f.conn.Moving(); !moved {
		f.conn.Close(code, reason)
	}
}

// Freeze lets messages of paused clients through, before connections are moved: no action may wait
// then. The receiver of events keeps them.
func (cs *Clients) Freeze() { cs.moving.close() }

// Thaw ends Freeze.
func (cs *Clients) Thaw() { cs.moving.open() }

// gate is open or closed, and lets others wait for either. Its zero value is open.
type gate struct {
	mu     sync.Mutex
	opens  chan struct{} // non-nil: the gate is closed
	closes chan struct{} // closed with the gate; nil = nobody waits
}

// close closes the gate, which may be closed.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opens != nil {
		return
	}
	g.opens = make(chan struct{})
	if g.closes == nil {
		g.closes = make(chan struct{})
	}
	close(g.closes)
}

// open opens the gate, which may be open.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opens != nil {
		close(g.opens)
		g.opens, g.closes = nil, nil
	}
}

// wait returns a channel that is closed when the gate opens; nil = it is open.
func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opens
}

// shut returns a channel that is closed when the gate closes.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closes == nil {
		g.closes = make(chan struct{})
	}
	return g.closes
}
