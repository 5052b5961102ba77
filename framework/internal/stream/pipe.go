package stream

import (
	"bytes"
	"encoding/json"
	"os"
	"sync"
	"time"
)

// message is one line in a pipe: a part, or the end, of a stream; or that it was cancelled, to the
// producer.
type message struct {
	Stream string `json:"s"`
	Text   string `json:"t,omitempty"`
	End    string `json:"e,omitempty"` // reason
	Cancel string `json:"c,omitempty"` // reason
	Who    *Who   `json:"w,omitempty"` // a new stream
	Begin  int64  `json:"b,omitempty"` // the stream's connection has the reply
}

// pipe is the socket between a worker that has producers and the one that has the homes of their
// streams. Both use this type; lines go both ways.
type pipe struct {
	file    *os.File
	receive func(message)
	broken  func()

	mu      sync.Mutex
	changed *sync.Cond
	out     []byte // lines that wait
	writing bool
	closed  bool
	room    func() // called, without mu, when lines have left

	rest    []byte        // the beginning of a line; the reader's
	stopped chan struct{} // closed when the reader has ended
	halting bool          // the reader is to end without a break
}

func newPipe(file *os.File, rest []byte) *pipe {
	p := &pipe{file: file, rest: rest, room: func() {}, stopped: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	close(p.stopped)
	return p
}

// listen reads lines in a goroutine. broken is called when the other side has ended.
func (p *pipe) listen(receive func(message), broken func()) {
	p.receive, p.broken = receive, broken
	p.mu.Lock()
	p.halting, p.stopped = false, make(chan struct{})
	p.mu.Unlock()
	_ = p.file.SetReadDeadline(time.Time{})
	go p.read()
}

func (p *pipe) read() {
	defer close(p.stopped)
	buf := make([]byte, 64<<10)
	for {
		for {
			line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
			if !whole {
				break
			}
			var m message
			if json.Unmarshal(line, &m) == nil {
				p.receive(m)
			}
			p.rest = rest
		}
		n, err := p.file.Read(buf)
		p.rest = append(p.rest[:len(p.rest):len(p.rest)], buf[:n]...)
		if err != nil || n == 0 {
			p.mu.Lock()
			halting := p.halting
			p.mu.Unlock()
			if !halting {
				p.close()
				p.broken()
			}
			return
		}
	}
}

// halt ends the reader and returns the beginning of a line that it has read. listen goes on.
func (p *pipe) halt() []byte {
	p.mu.Lock()
	p.halting = true
	stopped := p.stopped
	p.mu.Unlock()
	_ = p.file.SetReadDeadline(time.Unix(1, 0))
	<-stopped
	return p.rest
}

// queue sends a line, in order, without waiting.
func (p *pipe) queue(m message) {
	b, err := json.Marshal(m)
	if err != nil {
		return // of strings: impossible
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.out = append(append(p.out, b...), '\n')
	if !p.writing {
		p.writing = true
		go p.write()
	}
}

func (p *pipe) write() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.out) > 0 && !p.closed {
		b := p.out
		p.out = nil
		p.mu.Unlock()
		_, err := p.file.Write(b)
		p.room()
		p.mu.Lock()
		if err != nil {
			p.closed, p.out = true, nil
		}
	}
	p.writing = false
	p.changed.Broadcast()
}

// full reports whether too much waits.
func (p *pipe) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.out) > maxQueue && !p.closed
}

// flush waits until all lines have left.
func (p *pipe) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.writing && !p.closed {
		p.changed.Wait()
	}
}

// close closes this process's descriptor.
func (p *pipe) close() {
	p.mu.Lock()
	p.closed, p.halting = true, true
	p.changed.Broadcast()
	p.mu.Unlock()
	_ = p.file.Close()
}
