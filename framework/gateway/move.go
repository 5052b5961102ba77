package gateway

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"wsframe/library/packed"
)

// MovedPeer is a connection of a PHP program on its way to another process.
type MovedPeer struct {
	File  *os.File // a duplicate of its descriptor
	State []byte
}

// Peers are the connections of PHP programs, which a reload moves to another process.
type Peers interface {
	// Freeze stops executing what they send. Thaw or Release follows.
	Freeze()
	Thaw()
	// Release ends a Freeze: another process has what Export returned.
	Release()
	// Export returns the connections, and the state that belongs to none.
	Export() (peers []MovedPeer, state []byte)
	// Import serves what another process has exported.
	Import(peers []MovedPeer, state []byte)
}

// parkTime bounds the wait of a freeze for commands that run.
const parkTime = time.Second

// errMoved ends the service of a peer that another process has now.
var errMoved = errors.New("connection has moved to another process")

// peerState is what moves with a descriptor.
type peerState struct {
	admitted bool   // it has proven itself
	trusted  bool   // it may send commands
	begun    bool   // a command was executed
	listens  bool   // of the Register: it gets the list
	key      string // worker_key of a BusinessWorker; of the Register: the address of a PHP gateway
	in       []byte // received, and not a whole frame or line yet
	out      []byte // not written yet
}

func (s *peerState) flags() [4]*bool {
	return [...]*bool{&s.admitted, &s.trusted, &s.begun, &s.listens}
}

func (s *peerState) append(b []byte) []byte {
	var bits byte
	for i, flag := range s.flags() {
		if *flag {
			bits |= 1 << i
		}
	}
	b = packed.AppendText(append(b, bits), s.key)
	b = append(binary.AppendUvarint(b, uint64(len(s.in))), s.in...)
	return append(binary.AppendUvarint(b, uint64(len(s.out))), s.out...)
}

func (s *peerState) decode(b []byte) error {
	r := packed.NewReader(b)
	bits := r.Byte()
	for i, flag := range s.flags() {
		*flag = bits&(1<<i) != 0
	}
	s.key = r.Text()
	s.in, s.out = slices.Clone(r.Bytes()), slices.Clone(r.Bytes())
	return r.End()
}

// Freeze stops accepting, executing and writing, until Thaw or Release. Commands that run are
// executed before it returns.
func (p *port) freeze() {
	p.mu.Lock()
	if p.gate != nil || p.closed {
		p.mu.Unlock()
		return
	}
	p.gate = make(chan struct{})
	resting := make(<-chan struct{})
	if p.listener != nil {
		resting = p.listener.Pause()
	} else {
		none := make(chan struct{})
		close(none)
		resting = none
	}
	p.mu.Unlock()
	limit := time.NewTimer(parkTime)
	defer limit.Stop()
	select {
	case <-resting: // what was accepted is a peer now
	case <-limit.C:
	}
	for _, one := range p.sorted() {
		_ = one.conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed one, which ends by itself
		one.turn.freeze(true)
	}
	end := time.AfterFunc(parkTime, p.parked.Broadcast)
	defer end.Stop()
	begun := time.Now()
	p.mu.Lock()
	for !p.allParked() && time.Since(begun) < parkTime {
		p.parked.Wait()
	}
	p.mu.Unlock()
	for _, one := range p.sorted() {
		one.out.freeze()
	}
}

func (p *port) allParked() bool {
	for one := range p.peers {
		if !one.isParked {
			return false
		}
	}
	return true
}

// sorted returns the peers in the order of connecting.
func (p *port) sorted() []*peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*peer, 0, len(p.peers))
	for one := range p.peers {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *peer) int { return int(int64(a.number) - int64(b.number)) })
	return list
}

// export returns the peers that can move, in the order of connecting.
func (p *port) export() (list []MovedPeer) {
	for _, one := range p.sorted() {
		p.mu.Lock()
		parked := one.isParked
		p.mu.Unlock()
		if !parked || one.export == nil {
			continue // its command runs still: PHP connects again
		}
		file, ok := fileOf(one.conn)
		if !ok {
			continue
		}
		s := peerState{admitted: one.admitted, begun: one.begun, out: one.out.export()}
		one.export(&s)
		list = append(list, MovedPeer{file, s.append(nil)})
	}
	return list
}

func fileOf(conn net.Conn) (*os.File, bool) {
	c, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, false
	}
	f, err := c.File()
	return f, err == nil
}

// unfreeze ends a freeze. With moved the peers belong to another process, and end here without a
// word.
func (p *port) unfreeze(moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate == nil {
		return
	}
	if moved {
		p.moved = true
	} else {
		if p.listener != nil {
			p.listener.Resume()
		}
		for one := range p.peers {
			one.turn.freeze(false)
			_ = one.conn.SetReadDeadline(one.patience())
			one.out.thaw()
		}
	}
	close(p.gate)
	p.gate = nil
}

// restore serves a peer that comes from another process.
func (p *port) restore(m MovedPeer, ready func(*peer)) error {
	defer m.File.Close() // the connection has a duplicate
	var s peerState
	if err := s.decode(m.State); err != nil {
		return err
	}
	conn, err := net.FileConn(m.File)
	if err != nil {
		return err
	}
	one := p.newPeer(conn)
	one.restored, one.spoken, one.admitted = &s, s.admitted, s.admitted
	one.out.waiting = s.out
	one.turn.arrived = uint64(len(s.in)) // others wait for that, too
	ready(one)
	p.begin(one)
	one.out.thaw()
	return nil
}

// park waits while connections are frozen. moved = another process has the connection.
func (o *peer) park() (moved bool) {
	p := o.port
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.gate != nil {
		gate := p.gate
		o.isParked = true
		p.parked.Broadcast()
		p.mu.Unlock()
		<-gate
		p.mu.Lock()
		o.isParked = false
	}
	if !p.moved {
		_ = o.conn.SetReadDeadline(o.patience())
	}
	return p.moved
}

// frozen reports whether connections are frozen.
func (p *port) frozen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate != nil || p.moved
}

// patience is the deadline of a read; zero = none.
func (o *peer) patience() time.Time {
	if o.spoken {
		return time.Time{}
	}
	return time.Now().Add(silence)
}

// freeze stops writing. What is not written yet stays.
func (o *outbox) freeze() {
	o.mu.Lock()
	o.frozen = true
	o.mu.Unlock()
	_ = o.conn.SetWriteDeadline(time.Unix(1, 0)) // fails on a closed connection
	o.wg.Wait()
}

// export returns what is not written yet, of a frozen outbox.
func (o *outbox) export() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.waiting)
}

// thaw undoes freeze.
func (o *outbox) thaw() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frozen = false
	_ = o.conn.SetWriteDeadline(time.Time{}) // likewise
	o.append(nil)
}

// freeze lets nobody wait for this connection any more, or undoes that.
func (t *turn) freeze(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frozen = on
	t.changed.Broadcast()
}
