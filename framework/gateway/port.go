package gateway

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"wsframe/framework/internal/backoff"
)

const (
	silence   = 10 * time.Second // without a byte, until the first line or frame
	maxGuests = 4096             // peers of one port that have not proven themselves
)

// port accepts the peers of one listener and bounds those that have not proven themselves.
type port struct {
	allow func(netip.Addr) bool // nil = every address
	serve func(*peer)           // returns when the connection ends

	mu     sync.Mutex
	peers  map[*peer]bool
	guests list.List // of *peer, the longest idle first
	closed bool
	wg     sync.WaitGroup
}

// peer is one connection of a PHP program.
type peer struct {
	conn net.Conn
	port *port
	out  outbox

	// Only the goroutine of serve uses these.
	spoken   bool
	admitted bool

	guest *list.Element // nil once the peer is admitted; port.mu guards it
}

// run accepts connections until ctx ends, then closes all of them and the listener.
func (p *port) run(ctx context.Context, l net.Listener) error {
	defer p.wg.Wait()
	defer context.AfterFunc(ctx, func() { p.close(l) })()
	pause := backoff.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause.Reset()
			p.open(conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			p.close(l)
			return err
		default:
			// Descriptors are short, for example. Clients wait in the kernel's queue.
			pause.Wait(ctx.Done())
		}
	}
}

// close closes the listener and all connections.
func (p *port) close(l net.Listener) {
	_ = l.Close() // nothing more can be done with it
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for one := range p.peers {
		one.close()
	}
}

// open serves a new connection, and closes the longest idle guest if there are too many.
func (p *port) open(conn net.Conn) {
	one := &peer{conn: conn, port: p, out: outbox{conn: conn}}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !p.allows(conn) {
		one.close()
		return
	}
	if p.peers == nil {
		p.peers = map[*peer]bool{}
	}
	p.peers[one] = true
	one.guest = p.guests.PushBack(one)
	if p.guests.Len() > maxGuests {
		oldest := p.guests.Front().Value.(*peer)
		oldest.leave()
		oldest.close()
	}
	p.wg.Go(func() {
		p.serve(one)
		one.out.finish()
		one.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		one.leave()
		delete(p.peers, one)
	})
}

// count returns the number of connections.
func (p *port) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.peers)
}

// allows reports whether a connection's address may connect.
func (p *port) allows(conn net.Conn) bool {
	if p.allow == nil {
		return true
	}
	address, ok := remoteOf(conn)
	return ok && p.allow(address)
}

// remoteOf returns the address of the other side of a connection.
func remoteOf(conn net.Conn) (a netip.Addr, ok bool) {
	address, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	return address.Addr().Unmap(), err == nil
}

// Read reads from the connection. A guest that is silent for too long gets an error.
func (o *peer) Read(b []byte) (int, error) {
	if !o.spoken {
		if err := o.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return 0, err
		}
	}
	n, err := o.conn.Read(b)
	if o.admitted {
		return n, err
	}
	o.port.mu.Lock()
	defer o.port.mu.Unlock()
	if o.guest != nil {
		o.port.guests.MoveToBack(o.guest)
	}
	return n, err
}

// speak ends the time limit of silence, after the first line or frame.
func (o *peer) speak() {
	if !o.spoken {
		o.spoken = true
		_ = o.conn.SetReadDeadline(time.Time{}) // the next Read fails if the connection is closed
	}
}

// admit makes the peer one that is kept, however long it is idle.
func (o *peer) admit() {
	if o.admitted {
		return
	}
	o.admitted = true
	o.speak()
	o.port.mu.Lock()
	defer o.port.mu.Unlock()
	o.leave()
}

// leave removes the peer from the guests; the caller holds port.mu.
func (o *peer) leave() {
	if o.guest != nil {
		o.port.guests.Remove(o.guest)
		o.guest = nil
	}
}

// send sends without blocking. A peer that does not read is closed.
func (o *peer) send(b []byte) {
	if !o.out.send(b) {
		o.close()
	}
}

// Send implements WorkerConn.
func (o *peer) Send(frames []byte) (waiting int) { return o.out.sendAlways(frames) }

// OnWritten implements WorkerConn.
func (o *peer) OnWritten(f func(waiting int)) { o.out.onWritten(f) }

// Close implements WorkerConn.
func (o *peer) Close() { o.close() }

// close closes the connection at once, which ends serve.
func (o *peer) close() { _ = o.conn.Close() }
