package hub

import (
	"net"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/wire"
)

func (o *outbox) startWriter() {
	o.writing = true
	o.c.sock.pollable()
	go o.writeLoop()
}

// broken gives up a socket that cannot be written any more. The reader runs the close path. c.mu is
// held.
func (o *outbox) broken() {
	c := o.c
	o.drop()
	if c.state == open {
		c.end(wire.CloseAbnormal, "")
	}
	c.endDone() // also for a moved connection whose action runs here
	c.sock.cut()
	c.in.signal()
}

// writeLoop writes until the queue is empty. A peer that accepts nothing for WriteTimeout is cut.
func (o *outbox) writeLoop() {
	c := o.c
	defer func() {
		if v := recover(); v != nil { // not expected; a fault here must not end the process
			c.hub.cfg.Log.Error("panic in the writer", zap.Int64("fd", c.FD), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			c.abort()
		}
	}()
	var store net.Buffers
	for {
		c.mu.Lock()
		bufs, taken, holds := store[:0], []chunk(nil), o.holds
		if !o.held {
			bufs, taken = o.dequeue(bufs)
		}
		if len(bufs) == 0 {
			o.writing = false
			if o.flushed != nil && !o.held {
				close(o.flushed)
				o.flushed = nil
			}
			c.mu.Unlock()
			return
		}
		// Set under the lock, so that it cannot replace the past deadline of a freeze.
		err := c.sock.armWrite(c.hub.cfg.WriteTimeout)
		c.mu.Unlock()
		store = bufs
		var n int64
		if err == nil {
			n, err = c.sock.writeBuffers(bufs)
		}
		c.mu.Lock()
		o.bytes = max(0, o.bytes-int(n))
		switch {
		case err == nil, isTimeout(err) && o.mayWrite(n, holds):
			o.putBack(taken, int(n))
		default:
			if c.state == open && isTimeout(err) {
				c.hub.totals.slow.Add(1)
				c.closedHere = true
				c.end(wire.CloseSlow, "slow")
			}
			o.broken()
		}
		o.extra = o.extra.atMost(o.load)
		c.mu.Unlock()
		clear(store)
		clear(taken)
	}
}

// mayWrite reports whether the writer goes on after a write of n bytes that timed out. It does if a
// freeze has caused the timeout, or if there was progress and the connection is not closing. c.mu
// is held.
func (o *outbox) mayWrite(n int64, holds int32) bool {
	return !o.c.sock.cutOff && (o.holds != holds || n > 0 && o.c.state == open)
}

// cork collects replies until all frames that arrived together are dispatched. The hub uncorks
// after 2 ms, so that a slow action does not delay the replies before it.
func (o *outbox) cork() {
	o.c.mu.Lock()
	fresh := !o.corked && o.c.state == open
	if fresh {
		o.corked = true
	}
	o.c.mu.Unlock()
	if fresh {
		o.c.hub.corks.add(o)
	}
}

// uncork writes what cork has collected. ended reports whether the connection is closing.
func (o *outbox) uncork() (ended bool) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	if o.corked {
		o.flush()
	}
	return o.c.state >= closing
}

// flush ends a cork. c.mu is held.
func (o *outbox) flush() {
	o.corked = false
	if o.writing || o.held || len(o.chunks) == 0 {
		return
	}
	if len(o.chunks) == 1 {
		first := o.chunks[0].b
		n, err := o.c.sock.tryWrite(first)
		if err != nil {
			o.broken()
			return
		}
		if n == len(first) {
			o.drop()
			return
		}
		o.bytes -= n
		o.begin(n)
	}
	o.startWriter()
}

// corks are the connections whose replies wait for the end of a batch. A goroutine runs while there
// are any.
type corks struct {
	interval time.Duration

	mu      sync.Mutex
	list    []*outbox
	running bool
}

func (k *corks) add(o *outbox) {
	k.mu.Lock()
	k.list = append(k.list, o)
	start := !k.running
	k.running = true
	k.mu.Unlock()
	if start {
		go k.run()
	}
}

func (k *corks) run() {
	var list []*outbox
	for {
		time.Sleep(k.interval)
		k.mu.Lock()
		list, k.list = k.list, list[:0]
		if len(list) == 0 {
			k.running = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		for i, o := range list {
			o.uncork()
			list[i] = nil
		}
	}
}
