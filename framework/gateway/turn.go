package gateway

import (
	"net"
	"sync"
	"syscall"
)

// turn lets other connections wait until the bytes that have arrived at one are executed.
//
// A PHP process uses several connections: a BusinessWorker sets a session on its own and asks for
// it on another, and a program without lasting connections opens one for each command.
// GatewayWorker reads them one after the other, so that commands take effect in the order in which
// they were sent. Here each connection has a goroutine, which waits for those before it.
type turn struct {
	raw syscall.RawConn // nil = the system cannot tell what has arrived: nobody waits

	mu      sync.Mutex
	changed *sync.Cond
	arrived uint64 // bytes that were read
	done    uint64 // bytes that were executed
	ended   bool
	frozen  bool // see freeze
}

func newTurn(conn net.Conn) *turn {
	t := &turn{raw: rawConn(conn)}
	t.changed = sync.NewCond(&t.mu)
	return t
}

// pass says that all bytes that were read have been executed.
func (t *turn) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = t.arrived
	t.changed.Broadcast()
}

// end says that nothing is read any more.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.changed.Broadcast()
}

// wait waits until all bytes that have arrived at the system are executed.
func (t *turn) wait() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for until := t.arrived + t.pending(); t.done < until && !t.ended && !t.frozen; {
		t.changed.Wait()
	}
}
