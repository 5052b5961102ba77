package gateway

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"wsframe/framework/internal/backoff"
	"wsframe/library/socket"
)

const (
	silence   = 10 * time.Second // without a byte, until the first line or frame
	maxGuests = 4096             // peers of one port that have not proven themselves
)

// port accepts the peers of one listener and bounds those that have not proven themselves.
type port struct {
	allow func(netip.Addr) bool // nil = every address
	serve func(*peer)           // returns when the connection ends
	turns bool                  // peers of one host wait for each other: see turn

	mu     sync.Mutex
	peers  map[*peer]bool
	guests list.List      // of *peer, the longest idle first
	ahead  map[*peer]bool // whose bytes are executed before those of others: see before
	opened uint64         // connections so far
	closed bool
	wg     sync.WaitGroup

	// For a reload, guarded by mu: see freeze.
	listener *socket.Pausable // nil = it cannot be paused
	gate     chan struct{}    // non-nil: connections are frozen; closed at the end
	moved    bool             // another process has the connections
	parked   sync.Cond        // signalled when a peer parks or ends
}

// peer is one connection of a PHP program.
type peer struct {
	conn   net.Conn
	port   *port
	out    outbox
	turn   *turn
	host   netip.Addr
	number uint64 // in the order of connecting

	// Only the goroutine of serve uses these.
	spoken   bool
	admitted bool
	begun    bool             // a command was executed
	passed   bool             // and the turn is over
	worker   bool             // it waits for nobody's turn
	settle   func()           // called before the turn is over; nil = nothing is to be settled
	events   WorkerEvents     // of a BusinessWorker
	held     []byte           // read and not returned, while the peer is parked
	restored *peerState       // of a peer from another process
	export   func(*peerState) // adds what serve knows, while the peer is parked

	// port.mu guards these.
	guest    *list.Element // nil once the peer is admitted
	isWorker bool          // worker, for others
	isParked bool          // it waits for the end of a freeze
}

// init sets what a port needs, before its use.
func (p *port) init(serve func(*peer)) { p.serve, p.parked.L = serve, &p.mu }

// run accepts connections until ctx ends, then closes all of them and the listener.
func (p *port) run(ctx context.Context, l net.Listener) error {
	if d, ok := l.(socket.Deadliner); ok {
		pausable := socket.NewPausable(d)
		p.mu.Lock()
		p.listener = pausable
		p.mu.Unlock()
		l = pausable
	}
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
		if one.out.idle() {
			one.close()
		} else {
			_ = one.conn.SetReadDeadline(time.Unix(1, 0)) // the last writes follow
		}
	}
}

// lastWrites is the time for what waits when a connection ends.
func (p *port) lastWrites() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return stopWrites
	}
	return lastWrites
}

// open serves a new connection, if its address may connect.
func (p *port) open(conn net.Conn) {
	one := p.newPeer(conn)
	if p.allow != nil && !(one.host.IsValid() && p.allow(one.host)) {
		one.close()
		return
	}
	p.begin(one)
}

func (p *port) newPeer(conn net.Conn) *peer {
	one := &peer{conn: conn, port: p, out: outbox{conn: conn}, turn: newTurn(conn)}
	one.host, _ = hostOf(conn)
	return one
}

// begin serves a peer, and closes the longest idle guest if there are too many.
func (p *port) begin(one *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		one.close()
		return
	}
	p.opened++
	one.number = p.opened
	if p.peers == nil {
		p.peers, p.ahead = map[*peer]bool{}, map[*peer]bool{}
	}
	p.peers[one], p.ahead[one] = true, true
	if !one.admitted {
		one.guest = p.guests.PushBack(one)
	}
	if p.guests.Len() > maxGuests {
		oldest := p.guests.Front().Value.(*peer)
		oldest.leave()
		oldest.close()
	}
	p.wg.Go(func() {
		p.serve(one)
		one.turn.end()
		one.out.finish(p.lastWrites())
		one.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		one.leave()
		delete(p.peers, one)
		delete(p.ahead, one)
		p.parked.Broadcast()
	})
}

// hostOf returns the address of the other side of a connection. Only pipes of tests have none.
func hostOf(conn net.Conn) (a netip.Addr, ok bool) {
	address, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	return address.Addr().Unmap(), err == nil
}

// before returns the peers whose bytes are executed before those of o: of its host, the workers,
// and those that came earlier. Once o has executed something, only those at their first bytes
// count. No two peers wait for each other.
func (p *port) before(o *peer) (list []*peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	others := p.peers
	if o.passed {
		others = p.ahead
	}
	for one := range others {
		if one.host == o.host && (one.number < o.number || one.isWorker) {
			list = append(list, one)
		}
	}
	return list
}

// count returns the number of connections.
func (p *port) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.peers)
}

// Read reads from the connection, when what was read before is executed. A guest that is silent for
// too long gets an error.
func (o *peer) Read(b []byte) (int, error) {
	o.pass()
	n, err := o.readThawed(b)
	if n > 0 && !o.awaitTurn(b[:n]) {
		return 0, errMoved
	}
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

// awaitTurn waits until the bytes of others are executed that come before those of o. read is what
// o has read and not returned. The result is false if another process has the connection.
func (o *peer) awaitTurn(read []byte) bool {
	if !o.port.turns || o.worker {
		return true
	}
	for {
		for _, one := range o.port.before(o) {
			one.turn.wait()
		}
		if !o.port.frozen() {
			return true
		}
		o.held = read
		if o.park() {
			return false
		}
		o.held = nil
	}
}

// readThawed reads, and waits while connections are frozen.
func (o *peer) readThawed(b []byte) (int, error) {
	for {
		if o.port.frozen() && o.park() {
			return 0, errMoved
		}
		if !o.spoken {
			if err := o.setPatience(); err != nil {
				return 0, err
			}
		}
		n, err := o.turn.read(o.conn, b)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && o.port.frozen() {
			continue
		}
		return n, err
	}
}

// setPatience sets the deadline of the next read, unless connections are frozen.
func (o *peer) setPatience() error {
	o.port.mu.Lock()
	defer o.port.mu.Unlock()
	if o.port.gate != nil || o.port.closed {
		return nil
	}
	return o.conn.SetReadDeadline(o.patience())
}

// speak ends the time limit of silence, after the first line or frame.
func (o *peer) speak() {
	if !o.spoken {
		o.spoken = true
		_ = o.setPatience() // the next Read fails if the connection is closed
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

// becomeWorker makes the peer one for which others wait.
func (o *peer) becomeWorker() {
	o.worker = true
	o.port.mu.Lock()
	defer o.port.mu.Unlock()
	o.isWorker = true
	o.port.ahead[o] = true
}

// pass ends the peer's turn. From then on only new connections wait for it, such as one by which a
// program asks about what it has sent on a lasting one, unless it is a worker.
func (o *peer) pass() {
	if !o.begun || o.passed {
		o.turn.pass()
		return
	}
	if !o.worker && o.settle != nil {
		o.settle()
	}
	o.turn.pass()
	o.passed = true
	if !o.worker {
		o.port.mu.Lock()
		defer o.port.mu.Unlock()
		delete(o.port.ahead, o)
	}
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
