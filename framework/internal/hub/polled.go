package hub

import (
	"context"
	"errors"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

var (
	// ErrAttached is returned for a connection that has a socket.
	ErrAttached = errors.New("connection has a socket")
	// ErrBusy is returned while messages of a page are being handled.
	ErrBusy = errors.New("messages of the connection are being handled")
)

// Polled is a connection of a page in its time without a socket. What is sent waits in its outbox
// for Take, which answers the page's polls, and messages come by Receive. Attach gives it a socket,
// for good; then it is served as any other connection. The turn of the reader serializes Receive,
// Attach and the close path while there is no socket.
type Polled struct{ *Conn }

// OpenPage makes a connection without a socket. It is not registered before Serve.
func OpenPage(h *Hub, fd int64, id auth.Identity, remote string, version wire.Dialect) Polled {
	c := &Conn{Auth: id, Remote: remote, Since: time.Now(), hub: h, Page: importPage(byte(version))}
	c.sock.shut, c.in.failed, c.out.away = true, true, true // until Attach
	c.init(fd)
	now := h.clock.seconds.Load()
	c.lastIn.Store(now)
	c.lastPing.Store(now)
	return Polled{c}
}

// Serve registers the connection and calls opened. The close path runs as for Conn.Serve.
func (p Polled) Serve(opened func()) {
	c, h := p.Conn, p.Conn.hub
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
func (p Polled) Take(ctx context.Context, bytes int) ([][]byte, error) {
	c := p.Conn
	for {
		c.mu.Lock()
		if !c.out.away {
			c.mu.Unlock()
			return nil, ErrAttached
		}
		packets := c.out.take(bytes)
		over := c.state >= closing
		if len(packets) == 0 && !over && c.Page.waits == nil {
			c.Page.waits = make(chan struct{})
		}
		wait := c.Page.waits
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

// Receive handles messages in their order, in the caller's goroutine. The rate is limited as that
// of frames. The error is ErrBusy, ErrAttached or ErrClosed.
func (p Polled) Receive(messages [][]byte) error {
	if err := p.claim(); err != nil {
		return err
	}
	defer p.release()
	in, c := &p.Conn.in, p.Conn
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
func (p Polled) handle(message []byte) {
	defer func() {
		if v := recover(); v != nil {
			p.Conn.in.logPanic("panic in a message handler", v)
		}
	}()
	p.Conn.hub.handler.Message(p.Conn, message)
}

// Touch notes a sign of life.
func (p Polled) Touch() {
	p.Conn.lastIn.Store(p.Conn.hub.clock.seconds.Load())
	p.Conn.bytesIn.Add(1) // see BytesReceived
}

// Attach gives the connection a socket, whose WebSocket handshake is answered. What is queued is
// written first. early holds bytes that were read from the socket already. After an error the
// socket is the caller's.
func (p Polled) Attach(socket Stream, early []byte) error {
	if err := p.claim(); err != nil {
		return err
	}
	if err := p.plug(socket); err != nil {
		p.release()
		return err
	}
	c := p.Conn
	if len(early) > 0 {
		c.in.receive(early)
	}
	p.Touch()
	if c.hub.freezing.on.Load() {
		c.freeze(false)
	}
	c.in.start(nil) // it owns the turn
	return nil
}

// plug puts the socket in and begins to write. The caller owns the turn.
func (p Polled) plug(stream Stream) error {
	c := p.Conn
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
	c.Page.wake()
	return nil
}

// claim takes the turn of a connection without a socket.
func (p Polled) claim() error {
	c := p.Conn
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
func (p Polled) release() {
	for !p.Conn.in.watched.turn.release() { // somebody else has claimed it
		if p.Conn.Ended() {
			go p.Conn.in.conclude()
			return
		}
	}
}

// Control sends a packet that is no event, such as a pong. It does not count against
// OutboxMessages.
func (p Polled) Control(packet []byte) { p.Conn.out.control(wire.TextFrame(packet).Bytes) }

// Reply sends a packet as it is.
func (p Polled) Reply(packet []byte) error {
	f := wire.TextFrame(packet)
	return p.Conn.out.send(f.Bytes, f.Count, true, nil)
}
