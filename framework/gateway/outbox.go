package gateway

import (
	"net"
	"sync"
	"time"
)

const (
	maxWaiting = 10 << 20         // bytes that may wait for a peer before it is closed
	lastWrites = 10 * time.Second // for what waits when the connection ends
	stopWrites = time.Second      // likewise, when the port ends
)

// outbox writes to a peer without blocking its callers. A goroutine exists only while bytes wait.
type outbox struct {
	conn net.Conn

	mu      sync.Mutex
	written func(waiting int) // called after each write, without the lock; nil = nobody waits for it
	waiting []byte
	writing int // bytes that the goroutine is writing; 0 = it does not run
	ended   bool
	frozen  bool // see freeze
	wg      sync.WaitGroup
}

// send appends a copy of b to what waits. It returns false if the peer is to be closed, because
// it has more than maxWaiting bytes to read or because it has ended.
func (o *outbox) send(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended || len(o.waiting)+o.writing > maxWaiting {
		return false
	}
	o.append(b)
	return true
}

// sendAlways is send without a bound: the caller keeps one. It returns the bytes that wait.
func (o *outbox) sendAlways(b []byte) (waiting int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.append(b)
	}
	return len(o.waiting) + o.writing
}

// append appends a copy of b to what waits, and starts the goroutine. The caller holds o.mu.
func (o *outbox) append(b []byte) {
	o.waiting = append(o.waiting, b...)
	if o.writing == 0 && len(o.waiting) > 0 && !o.frozen {
		o.writing = len(o.waiting)
		batch := o.waiting
		o.waiting = nil
		o.wg.Go(func() { o.write(batch) })
	}
}

// onWritten sets the function that is called after each write.
func (o *outbox) onWritten(f func(waiting int)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written = f
}

// write writes a batch, then what has come in between.
func (o *outbox) write(batch []byte) {
	for len(batch) > 0 {
		n, err := o.conn.Write(batch)
		o.mu.Lock()
		if err != nil && o.frozen {
			o.waiting, o.writing = append(batch[n:len(batch):len(batch)], o.waiting...), 0
			o.mu.Unlock()
			return
		}
		if err != nil {
			o.ended, o.waiting = true, nil
		}
		if o.frozen {
			batch = nil
		} else {
			batch, o.waiting = o.waiting, nil
		}
		o.writing = len(batch)
		written := o.written
		o.mu.Unlock()
		if written != nil && err == nil {
			written(len(batch))
		}
	}
}

// finish waits until everything is written, but not longer than the limit. Nothing can be sent
// afterwards.
func (o *outbox) finish(limit time.Duration) {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	_ = o.conn.SetWriteDeadline(time.Now().Add(limit)) // writes to a closed connection fail
	o.wg.Wait()
}

// idle reports whether nothing waits.
func (o *outbox) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting)+o.writing == 0
}
