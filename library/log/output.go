package log

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// outputBytes limits the data that waits in an Output, and the data that is being written.
const outputBytes = 256 << 10

// Output is a bounded buffer in front of a terminal, pipe or file that may block or fail. Write
// never waits and never fails: lines that do not fit are dropped and counted, and a later line
// reports the count. All text is escaped. Each write should contain whole lines. An Output is safe
// for concurrent use.
type Output struct {
	mu         sync.Mutex
	w          io.Writer
	queue      []byte
	idle       chan struct{} // closed when everything is written; nil if nothing waits
	unreported int64         // dropped lines that were not reported yet
	lost       int64         // all dropped lines
	closed     bool
	wake       chan struct{} // capacity 1
}

// NewOutput makes an Output in front of w. Close ends its goroutine.
func NewOutput(w io.Writer) *Output {
	o := &Output{w: w, wake: make(chan struct{}, 1)}
	go o.run()
	return o
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	text := Escape(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.queue)+len(text) > outputBytes {
		o.drop(text)
		return len(p), nil
	}
	o.queue = append(o.queue, text...)
	if o.idle == nil {
		o.idle = make(chan struct{})
		o.wake <- struct{}{} // the queue was empty, so the channel is, too
	}
	return len(p), nil
}

// drop counts dropped lines. o.mu is held.
func (o *Output) drop(text []byte) {
	n := int64(max(bytes.Count(text, []byte("\n")), 1))
	o.unreported, o.lost = o.unreported+n, o.lost+n
}

func (o *Output) run() {
	for range o.wake {
		for o.writeQueue() {
		}
	}
}

// writeQueue writes all queued data. It returns whether there was any.
func (o *Output) writeQueue() bool {
	o.mu.Lock()
	text, w := o.queue, o.w
	o.queue = nil
	if len(text) == 0 {
		close(o.idle)
		o.idle = nil
		o.mu.Unlock()
		return false
	}
	o.mu.Unlock()
	n, err := w.Write(text)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.drop(text[min(max(n, 0), len(text)):])
	} else if o.unreported > 0 {
		o.queue = append(fmt.Appendf(nil, "[%d lines are missing here: nobody read them]\n", o.unreported), o.queue...)
		o.unreported = 0
	}
	return true
}

// Lost returns the number of dropped lines.
func (o *Output) Lost() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}

// Flush waits until everything is written, but not longer than limit.
func (o *Output) Flush(limit time.Duration) {
	o.mu.Lock()
	idle := o.idle
	o.mu.Unlock()
	if idle == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// Redirect writes all later data to w.
func (o *Output) Redirect(w io.Writer) {
	o.Flush(time.Second)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = w
}

// Close flushes the buffer. Later data is dropped.
func (o *Output) Close(limit time.Duration) {
	o.Flush(limit)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		close(o.wake)
	}
}

// Lines splits a stream into lines, and passes whole lines to a writer. Lines of more than 64 KiB
// are cut. Lines is for one goroutine.
type Lines struct {
	W io.Writer

	rest []byte
}

const maxLine = 64 << 10

// Write implements io.Writer. It never fails.
func (l *Lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	if end := bytes.LastIndexByte(l.rest, '\n') + 1; end > 0 {
		_, _ = l.W.Write(l.rest[:end])
		l.rest = append(l.rest[:0], l.rest[end:]...)
	}
	if len(l.rest) > maxLine {
		l.End()
	}
	return len(p), nil
}

// End passes on a last line without an end of line.
func (l *Lines) End() {
	if len(l.rest) > 0 {
		_, _ = l.W.Write(append(l.rest, '\n'))
		l.rest = nil
	}
}
