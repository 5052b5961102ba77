package closing

import (
	"context"
	"sync"

	"go.uber.org/zap"
)

const (
	// maxHeld bounds the ends that wait for Redis. Listeners of further ones are notified at once,
	// and a second time by another node if that has declared this one dead.
	maxHeld = 100_000
	// heldAtOnce bounds the ends that are dealt with at the same time when Redis answers again.
	heldAtOnce = 64
)

// heldEnds are ends of connections while Redis does not answer. Another node may have declared
// this one dead, and have notified the close listeners itself. So the listeners wait until Redis
// answers and says whose the connections are. Nothing else waits: the connections have left their
// rooms, and their sockets are closed.
type heldEnds struct {
	node Cluster
	log  *zap.Logger
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	slots chan struct{} // one for each end that is being dealt with

	mu     sync.Mutex // a leaf
	list   []heldEnd
	busy   bool // run works on the list
	closed bool
}

type heldEnd struct {
	fd  int64
	end func(mine bool)
}

func newHeldEnds(node Cluster, log *zap.Logger) *heldEnds {
	e := &heldEnds{node: node, log: log, slots: make(chan struct{}, heldAtOnce)}
	e.ctx, e.stop = context.WithCancel(context.Background())
	return e
}

// hold calls end when it is known whose the connection is, or at once where too many wait.
func (e *heldEnds) hold(fd int64, end func(mine bool)) {
	e.mu.Lock()
	full := len(e.list) >= maxHeld
	if !full {
		e.list = append(e.list, heldEnd{fd, end})
	}
	if !e.busy && !e.closed {
		e.busy = true
		e.work.Go(e.run)
	}
	e.mu.Unlock()
	if full {
		end(true)
	}
}

// run waits for Redis and works on the list, in its order, until that is empty or the node stops.
func (e *heldEnds) run() {
	for {
		e.mu.Lock()
		if len(e.list) == 0 {
			e.list, e.busy = nil, false
			e.mu.Unlock()
			return
		}
		x := e.list[0]
		e.mu.Unlock()
		mine, err := e.node.Owns(e.ctx, x.fd)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.list[0] = heldEnd{}
		e.list = e.list[1:]
		e.mu.Unlock()
		e.slots <- struct{}{}
		e.work.Go(func() {
			defer func() { <-e.slots }()
			x.end(mine)
		})
	}
}

// close waits until all ends are dealt with, as long as ctx lasts. The remaining ones are left to
// the node that cleans up after this one, which finds them in Redis. Only the listeners of
// connections that Redis has never heard of are notified here: no other node knows of these.
func (e *heldEnds) close(ctx context.Context) {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	done := make(chan struct{})
	go func() {
		e.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	e.stop()
	<-done
	e.mu.Lock()
	rest := e.list
	e.list = nil
	e.mu.Unlock()
	if len(rest) == 0 {
		return
	}
	unheard, remaining := e.node.Unheard(), 0
	for _, x := range rest {
		if unheard[x.fd] {
			x.end(true)
		} else {
			remaining++
		}
	}
	e.log.Warn("redis is away: who cleans up after this node tells the close listeners", zap.Int("connections", remaining))
}
