package hub

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

// PageConfig is for connections of socket.io pages, which speak Engine.IO of version 3 or 4.
type PageConfig struct {
	PingInterval time.Duration // between two pings of the side that pings, 25 s
	PingTimeout  time.Duration // beyond PingInterval: how long a page may be silent, 60 s

	// Translate appends the Engine.IO packet for the payload of a text frame, or nothing. The
	// dialect is the version. nil = pages get nothing.
	Translate func(dst, payload []byte, version wire.Dialect) []byte
}

// Flags of a Page, which move with it.
const (
	PageConnected = 1 << 4 // the client has connected the namespace; nothing is sent before
	PageLoggedIn  = 1 << 5 // for the owner of the hub
)

// pageVersion is the part of an exported Page that is its version.
const pageVersion = PageConnected - 1

var (
	// ErrAttached is returned for a page that has a socket.
	ErrAttached = errors.New("connection has a socket")
	// ErrBusy is returned while messages of a page are being handled.
	ErrBusy = errors.New("messages of the connection are being handled")
)

// Page is the part of a connection that belongs to a socket.io page. Such a connection has a
// dialect: what is sent to it is translated, once for all members of a room.
//
// It begins without a socket. What is sent waits in its outbox for Take, which answers the page's
// polls, and messages come by Receive. Attach gives it a socket, for good; then it is served as any
// other connection. The turn of package hub's readers serializes Receive, Attach and the close path
// while there is no socket.
type Page struct {
	c     *Conn
	flags atomic.Uint32 // the version and the flags
	waits chan struct{} // closed when Take may look again; nil = nobody waits; guarded by Conn.mu
}

// OpenPage makes a connection without a socket. It is not registered before Page.Serve.
func OpenPage(h *Hub, fd int64, id auth.Identity, remote string, version wire.Dialect) *Conn {
	c := &Conn{Auth: id, Remote: remote, Since: time.Now(), hub: h, Page: importPage(byte(version))}
	c.sock.shut, c.in.failed, c.out.away = true, true, true // until Attach
	c.init(fd)
	now := h.clock.seconds.Load()
	c.lastIn.Store(now)
	c.lastPing.Store(now)
	return c
}

func importPage(state byte) *Page {
	if state == 0 {
		return nil
	}
	p := &Page{}
	p.flags.Store(uint32(state))
	return p
}

// export is the inverse of importPage.
func (p *Page) export() byte {
	if p == nil {
		return 0
	}
	return byte(p.flags.Load())
}

// Version is the version of Engine.IO.
func (p *Page) Version() wire.Dialect { return wire.Dialect(p.flags.Load() & pageVersion) }

// Has reports whether a flag is set.
func (p *Page) Has(flag uint32) bool { return p.flags.Load()&flag != 0 }

// Set sets a flag. It reports whether that was not set before.
func (p *Page) Set(flag uint32) bool { return p.flags.Or(flag)&flag == 0 }

// Serve registers the connection and calls opened. The close path runs as for Conn.Serve.
func (p *Page) Serve(opened func()) {
	c, h := p.c, p.c.hub
	h.inside.Add(1)
	c.mu.Lock()
	c.state = open
	c.mu.Unlock()
	h.add(c)
	opened()
	if h.frozen.Load() {
		c.Close(wire.CloseRestart, "the server is being reloaded")
	}
}

// Take waits for packets and removes them from the outbox: at least one, and as many as fit into so
// many bytes. A closed connection ends with the packet Close; after it the error is ErrClosed. The
// error is ErrAttached once there is a socket.
func (p *Page) Take(ctx context.Context, bytes int) ([][]byte, error) {
	c := p.c
	for {
		c.mu.Lock()
		if !c.out.away {
			c.mu.Unlock()
			return nil, ErrAttached
		}
		packets := c.out.take(bytes)
		over := c.state >= closing
		if len(packets) == 0 && !over && p.waits == nil {
			p.waits = make(chan struct{})
		}
		wait := p.waits
		c.mu.Unlock()
		switch {
		case len(packets) > 0:
			return packets, nil
		case over:
			return nil, ErrClosed
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// wake has all calls of Take look again. Conn.mu is held.
func (p *Page) wake() {
	if p.waits != nil {
		close(p.waits)
		p.waits = nil
	}
}

// Receive handles messages in their order, in the caller's goroutine. The rate is limited as that
// of frames. The error is ErrBusy, ErrAttached or ErrClosed.
func (p *Page) Receive(messages [][]byte) error {
	if err := p.claim(); err != nil {
		return err
	}
	defer p.release()
	in, c := &p.c.in, p.c
	for _, m := range messages {
		in.arrived(len(m))
		if in.fault = in.charge(wire.Header{Fin: true, Op: wire.OpText}); in.fault.Code != 0 {
			c.Close(in.fault.Code, in.fault.Reason)
		}
		if c.Ended() {
			return ErrClosed
		}
		in.count()
		p.handle(m)
	}
	return nil
}

// handle calls the Handler with a message, and recovers its panic.
func (p *Page) handle(message []byte) {
	defer func() {
		if v := recover(); v != nil {
			p.c.in.logPanic("panic in a message handler", v)
		}
	}()
	p.c.hub.handler.Message(p.c, message)
}

// Touch notes a sign of life.
func (p *Page) Touch() {
	p.c.lastIn.Store(p.c.hub.clock.seconds.Load())
	p.c.bytesIn.Add(1) // see BytesReceived
}

// Attach gives the connection a socket, whose WebSocket handshake is answered. What is queued is
// written first. early holds bytes that were read from the socket already. After an error the socket
// is the caller's.
func (p *Page) Attach(socket Stream, early []byte) error {
	if err := p.claim(); err != nil {
		return err
	}
	if err := p.plug(socket); err != nil {
		p.release()
		return err
	}
	c := p.c
	if len(early) > 0 {
		c.in.receive(early)
	}
	p.Touch()
	if c.hub.freezing.on.Load() {
		c.freeze(false)
	}
	go c.in.start(nil) // it owns the turn
	return nil
}

// plug puts the socket in and begins to write. The caller owns the turn.
func (p *Page) plug(stream Stream) error {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open {
		return ErrClosed
	}
	var s socket
	if err := s.init(stream); err != nil {
		return err
	}
	if err := stream.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.sock, c.in.failed, c.out.away = s, false, false
	if len(c.out.chunks) > 0 {
		c.out.startWriter()
	}
	p.wake()
	return nil
}

// claim takes the turn of a connection without a socket.
func (p *Page) claim() error {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.out.away:
		return ErrAttached
	case c.state != open:
		return ErrClosed
	case !c.in.watched.turn.claim():
		return ErrBusy
	}
	return nil
}

// release gives the turn back. If the connection has ended meanwhile, its close path runs.
func (p *Page) release() {
	for !p.c.in.watched.turn.release() { // somebody else has claimed it
		if p.c.Ended() {
			go p.c.in.conclude()
			return
		}
	}
}

// signal has the close path of a connection without a socket run, which has ended. Conn.mu is held.
// A nil Page does nothing.
func (p *Page) signal() {
	if p == nil || !p.c.out.away {
		return
	}
	p.wake()
	if p.c.in.watched.turn.claim() {
		go p.c.in.conclude()
	}
}

// heartbeat is that of Conn. Pages of version 3 ping by themselves.
func (p *Page) heartbeat() (idle, interval int64) {
	cfg := &p.c.hub.cfg.Pages
	idle, interval = int64((cfg.PingInterval+cfg.PingTimeout)/time.Second), int64(cfg.PingInterval/time.Second)
	if p.Version() < 4 {
		interval = idle + 1 // never: an idle page is closed before
	}
	return idle, max(interval, 1)
}

// ping returns the frame of a heartbeat. A nil Page is that of any other connection.
func (p *Page) ping() []byte {
	if p == nil {
		return wire.ControlFrame(wire.OpPing, nil)
	}
	return wire.TextFrame([]byte{'2'}).Bytes
}

// provoke makes a page without a socket poll again, as a ping provokes a pong. It returns false
// where there is a socket.
func (p *Page) provoke() bool {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.away {
		c.out.controlLocked(wire.TextFrame([]byte{'6'}).Bytes) // Noop
	}
	return c.out.away
}

// Control sends a packet that is no event, such as a pong. It does not count against
// OutboxMessages.
func (p *Page) Control(packet []byte) { p.c.out.control(wire.TextFrame(packet).Bytes) }

// Reply sends a packet as it is.
func (p *Page) Reply(packet []byte) error {
	f := wire.TextFrame(packet)
	return p.c.out.send(f.Bytes, f.Count, true, nil)
}

// send is Conn.Send.
func (p *Page) send(f wire.Frame) error {
	f = p.in(f)
	if len(f.Bytes) == 0 { // nothing that a page can be told
		return nil
	}
	return p.c.out.send(f.Bytes, f.Count, true, f.Handling)
}

// in returns the frame as the page gets it: nothing before it has connected. A nil Page gets frames
// as they are.
func (p *Page) in(f wire.Frame) wire.Frame {
	switch {
	case p == nil:
		return f
	case !p.Has(PageConnected):
		return wire.Frame{Handling: f.Handling}
	case f.Dialect == p.Version():
		return f
	}
	return p.c.hub.translate(f, p.Version())
}

// translate returns a frame in the dialect of pages of a version.
func (h *Hub) translate(f wire.Frame, version wire.Dialect) wire.Frame {
	return f.In(version, func(dst, payload []byte) []byte { return h.cfg.Pages.Translate(dst, payload, version) })
}
