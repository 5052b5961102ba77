package log

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// outputBytes bounds what waits for the reader of an Output, and what is being written to it.
const outputBytes = 256 << 10

// Output stands before a terminal, pipe or file that may block, fail or be gone. Write never waits and never fails: lines
// that are not taken are dropped and counted, and a line says so when the reader is back. What passes is escaped. Each
// write should hold whole lines. An Output is safe for concurrent use.
type Output struct {
	mu     sync.Mutex
	w      io.Writer
	queue  []byte
	idle   chan struct{} // closed when nothing waits; nil while nothing does
	untold int64         // lines that were dropped since a line said so
	lost   int64         // lines that were dropped in all
	closed bool
	wake   chan struct{} // has room for one
}

// NewOutput makes an Output before w. Close ends its goroutine.
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
		o.wake <- struct{}{} // the goroutine has taken the last one
	}
	return len(p), nil
}

// drop counts lines; the caller holds mu.
func (o *Output) drop(text []byte) {
	n := int64(max(bytes.Count(text, []byte("\n")), 1))
	o.untold, o.lost = o.untold+n, o.lost+n
}

func (o *Output) run() {
	for range o.wake {
		for o.writeQueue() {
		}
	}
}

// writeQueue writes what waits. It tells whether there was something.
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
	} else if o.untold > 0 {
		o.queue = append(fmt.Appendf(nil, "[%d lines are missing here: nobody read them]\n", o.untold), o.queue...)
		o.untold = 0
	}
	return true
}

// Lost is the number of lines that were dropped.
func (o *Output) Lost() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}

// Flush waits until everything is written, at most for the limit.
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

// Redirect has everything that comes from now on written to w.
func (o *Output) Redirect(w io.Writer) {
	o.Flush(time.Second)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = w
}

// Close flushes; what comes later is dropped.
func (o *Output) Close(limit time.Duration) {
	o.Flush(limit)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		close(o.wake)
	}
}

// Lines passes whole lines on to a writer, of a stream that comes in pieces. Lines of more than 64 KiB are cut. It is for
// one goroutine.
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

// End passes on what has no end of line.
func (l *Lines) End() {
	if len(l.rest) > 0 {
		_, _ = l.W.Write(append(l.rest, '\n'))
		l.rest = nil
	}
}
