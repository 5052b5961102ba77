package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	pulseEvery = time.Second     // between two ticks, at each of which the master asks the worker
	pulseGap   = 3 * time.Second // between two ticks: the master or the machine was stopped
	hangAfter  = 5 * time.Second // of silence after which a worker counts as hanging
)

// pulse judges by the master's ticks whether a worker responds. It counts only time in which the
// ticks came: a stop of the master or of the whole machine resets it. Methods are safe for
// concurrent use.
//
//	responds ── silent for hangAfter ──▶ hangs ── silent for limits.worker_hang ──▶ killed
//	   ▲───────── a reply, or a gap ────────┘
type pulse struct {
	mu     sync.Mutex
	last   time.Time // tick
	asked  bool      // a question waits for its reply
	silent time.Duration
	hang   chan struct{} // closed while the worker hangs
	hangs  bool
}

// tick counts the time since the last tick. noticed means that the worker hangs since this one.
func (p *pulse) tick(now time.Time) (silent time.Duration, noticed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gap := now.Sub(p.last)
	p.last = now
	switch {
	case gap > pulseGap:
		p.reset()
	case p.asked:
		p.silent += gap
	}
	if p.silent >= hangAfter && !p.hangs {
		p.hangs, noticed = true, true
		close(p.hanging())
	}
	return p.silent, noticed
}

// reset ends the silence. The caller holds mu.
func (p *pulse) reset() {
	p.silent = 0
	if p.hangs {
		p.hangs, p.hang = false, nil
	}
}

// hanging returns a channel that is closed while the worker hangs. The caller holds mu.
func (p *pulse) hanging() chan struct{} {
	if p.hang == nil {
		p.hang = make(chan struct{})
	}
	return p.hang
}

// ask reports whether a question is to be sent now.
func (p *pulse) ask() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.asked
	p.asked = true
	return !was
}

// answered notes the end of a question.
func (p *pulse) answered(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = false
	if err == nil {
		p.reset()
	}
}

// state returns the length of the silence, and a channel that is closed while the worker hangs.
func (p *pulse) state() (silent time.Duration, hang <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent, p.hanging()
}

// hangError means that a worker does not respond to its heartbeat.
type hangError struct {
	pid    int
	silent time.Duration
	limit  time.Duration // after which it is replaced; 0 = never
}

// Error implements error.
func (e *hangError) Error() string {
	then := fmt.Sprintf("it is replaced after %v", e.limit)
	if e.limit == 0 {
		then = "limits.worker_hang is 0, so it is not replaced by itself"
	}
	return fmt.Sprintf("the worker (pid %d) hangs: it has not answered for %v; %s", e.pid, e.silent.Round(time.Second), then)
}

// hung returns a hangError while the worker hangs, else nil.
func (c *child) hung() error {
	silent, hang := c.pulse.state()
	select {
	case <-hang:
		return &hangError{c.pid, silent, c.hangLimit}
	default:
		return nil
	}
}

// ask is peer.call that fails at once when the worker hangs.
func (c *child) ask(ctx context.Context, kind string, in, out any) error {
	if err := c.hung(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, hang := c.pulse.state()
	go func() {
		select {
		case <-hang:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := c.peer.call(ctx, kind, in, out)
	if hung := c.hung(); err != nil && hung != nil {
		return hung
	}
	return err
}

func isHang(err error) bool {
	var hung *hangError
	return errors.As(err, &hung)
}
