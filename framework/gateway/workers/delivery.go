package workers

import (
	"time"

	"wsframe/framework/gateway"
)

const (
	closeTryAgain = 1013 // RFC 6455's registry: Try Again Later
	noWorker      = "no worker"
	headerSize    = 28
	maxFrame      = 10 << 20 // PHP closes the connection at a larger one
	keptScratch   = 64 << 10 // a larger buffer is released
)

// Bounds of the events of clients that have gone, which wait for a worker.
const (
	maxGone      = 10_000     // clients
	maxGoneBytes = 10_240_000 // beyond it, only the end of each client is told, without its session
)

// departed counts the clients that have gone while their events wait.
type departed struct{ count, bytes int }

// deliver sends the events of a client that can be sent now. The caller holds t.mu.
func (t *Table) deliver(c *client) {
	for len(c.events) > 0 {
		if !t.send(c, c.events[0]) {
			t.hold(c)
			return
		}
		c.events[0] = event{}
		c.events = c.events[1:]
	}
	c.events = nil
	c.leave()
	if c.over {
		t.forget(c)
		return
	}
	c.resume()
}

// send sends one event, unless the client has to wait. The caller holds t.mu.
func (t *Table) send(c *client, e event) bool {
	w := t.workerOf(c)
	if w == nil {
		return false
	}
	session := c.session
	if !c.over {
		session = c.conn.Session()
	}
	size := headerSize + len(session) + len(e.body)
	if size > maxFrame {
		t.counts.dropped++
		return true
	}
	if !w.takes(c, size) {
		return false
	}
	t.scratch = gateway.AppendFrame(t.scratch[:0], c.about.frame(e, session))
	w.waits = w.conn.Send(t.scratch)
	if cap(t.scratch) > keptScratch {
		t.scratch = nil
	}
	t.counts.events[e.command]++
	c.known = c.known || e.command == gateway.EventConnect
	return true
}

// workerOf returns the worker of a client, which gets one if it has none; nil = there is none.
func (t *Table) workerOf(c *client) *worker {
	if c.worker != nil && !c.worker.gone {
		return c.worker
	}
	c.worker = nil
	if c.wants != "" {
		return nil // it may still come
	}
	if w := t.fewest(); w != nil {
		c.choose(w)
	}
	return c.worker
}

// hold makes a client wait for its worker, or for any. The caller holds t.mu.
func (t *Table) hold(c *client) {
	to := &t.orphans
	if c.worker != nil {
		to = &c.worker.queue
	}
	if c.list != to {
		c.leave()
		c.list, c.place = to, to.PushBack(c)
		if to == &t.orphans {
			c.since = time.Now()
			t.schedule()
		}
	}
	c.pause()
}

// schedule starts the timer for the first of the orphans. The caller holds t.mu.
func (t *Table) schedule() {
	switch {
	case t.orphans.Len() > 1:
	case t.expiry == nil:
		t.expiry = time.AfterFunc(t.config.Wait, t.expire)
	default:
		t.expiry.Reset(t.config.Wait)
	}
}

// deliverOrphans sends the events of clients without a worker. The caller holds t.mu.
func (t *Table) deliverOrphans() {
	for e := t.orphans.Front(); e != nil; {
		next := e.Next()
		t.deliver(e.Value.(*client))
		e = next
	}
}

// expire gives up the events that have waited too long, and closes their clients.
func (t *Table) expire() {
	for _, c := range t.expired() {
		c.Close(closeTryAgain, noWorker)
	}
}

// expired drops the events that have waited too long, and returns the connections to be closed.
func (t *Table) expired() (conns []gateway.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.orphans.Front(); e != nil; e = t.orphans.Front() {
		c := e.Value.(*client)
		if left := t.config.Wait - time.Since(c.since); left > 0 {
			t.expiry.Reset(left)
			break
		}
		t.counts.dropped += uint64(len(c.events))
		c.leave()
		if c.over {
			t.forget(c)
			continue
		}
		c.events, c.expired = nil, true
		c.resume() // its close frame has to be read
		conns = append(conns, c.conn)
	}
	return conns
}

// tellGone delivers the last events of a client. If they have to wait, they are kept within the
// bounds.
func (t *Table) tellGone(c *client) {
	t.deliver(c)
	if len(c.events) == 0 {
		return
	}
	size := len(c.session)
	for _, e := range c.events {
		size += len(e.body)
	}
	if t.gone.bytes+size > maxGoneBytes {
		size, c.session = 0, nil
		c.events = c.events[len(c.events)-1:]
		if !c.known {
			c.events = nil
		}
	}
	if len(c.events) == 0 || t.gone.count == maxGone {
		t.counts.dropped++
		t.forget(c)
		return
	}
	c.counted, c.size = true, size
	t.gone.count++
	t.gone.bytes += size
}

// forget removes a client that has gone.
func (t *Table) forget(c *client) {
	c.leave()
	c.events = nil
	if w := c.worker; w != nil && !w.gone {
		w.clients--
	}
	c.worker = nil
	if c.counted {
		c.counted = false
		t.gone.count--
		t.gone.bytes -= c.size
	}
}
