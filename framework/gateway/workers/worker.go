package workers

import (
	"container/list"
	"net/netip"
	"slices"
	"time"

	"wsframe/framework/gateway"
)

// maxWaiting is the number of bytes that may wait for a worker before its clients are not read.
const maxWaiting = 10_240_000

// worker is the connection of one BusinessWorker. Table.mu guards what changes.
type worker struct {
	table  *Table
	key    string // with the address: unique
	remote netip.Addr
	conn   gateway.WorkerConn

	gone    bool
	clients int
	waits   int       // bytes that have not been written
	queue   list.List // of *client whose events wait for this worker, the longest waiting first
}

// Connect implements gateway.Workers. A worker with the same key is replaced.
func (t *Table) Connect(key string, remote netip.Addr, c gateway.WorkerConn) gateway.WorkerEvents {
	w := &worker{table: t, key: remote.String() + ":" + key, remote: remote, conn: c}
	c.OnWritten(w.written)
	t.mu.Lock()
	var old *worker
	if i := slices.IndexFunc(t.workers, func(o *worker) bool { return o.key == w.key }); i >= 0 {
		old = t.workers[i]
	}
	t.workers = append(t.workers, w)
	for _, one := range t.wanted[w.key] {
		if !one.told() {
			one.choose(w)
		}
	}
	delete(t.wanted, w.key)
	if old != nil {
		t.remove(old)
	}
	t.deliverOrphans()
	t.mu.Unlock()
	if old != nil {
		old.conn.Close()
	}
	return w
}

// Gone implements gateway.WorkerEvents.
func (w *worker) Gone() {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	w.table.remove(w)
}

// remove forgets a worker. Its clients choose anew at their next event, which is at once for those
// whose events wait.
func (t *Table) remove(w *worker) {
	if w.gone {
		return
	}
	w.gone = true
	t.workers = slices.DeleteFunc(t.workers, func(o *worker) bool { return o == w })
	if len(t.workers) == 0 {
		t.absent = time.Now()
	}
	for e := w.queue.Front(); e != nil; e = w.queue.Front() {
		t.deliver(e.Value.(*client))
	}
}

// written is called after bytes have been written.
func (w *worker) written(waiting int) {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	w.waits = waiting
	for e := w.queue.Front(); e != nil && !w.gone; e = w.queue.Front() {
		one := e.Value.(*client)
		w.table.deliver(one)
		if one.list == &w.queue {
			return
		}
	}
}

// takes reports whether a frame of a client may be sent now. Clients take turns.
func (w *worker) takes(c *client, size int) bool {
	if first := w.queue.Front(); first != nil && first.Value != c {
		return false
	}
	return w.waits == 0 || w.waits+size <= maxWaiting
}
