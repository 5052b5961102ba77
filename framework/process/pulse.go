package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	pulseEvery = time.Second     // the master's ticks, each with a question to the worker
	pulseGap   = 3 * time.Second // between two ticks: the master, or the machine, stood still meanwhile
	hangAfter  = 5 * time.Second // of silence the worker is said to hang
)

// pulse judges by ticks whether a worker answers. It counts only time in which the ticks came: where the master or the
// whole machine stood still, it begins anew.
//
//	answers ── silent for hangAfter ──> hangs ── silent for limits.worker_hang ──> killed
//	   └──────────── an answer, or a gap ──┘
type pulse struct {
	mu     sync.Mutex
	last   time.Time // tick
	asked  bool      // a question is under way
	silent time.Duration
	hang   chan struct{} // closed while the worker hangs
	hangs  bool
}

// tick counts the time since the last one, and tells whether the worker is noticed to hang just now.
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

// reset begins anew; the caller holds mu.
func (p *pulse) reset() {
	p.silent = 0
	if p.hangs {
		p.hangs, p.hang = false, nil
	}
}

// hanging is closed while the worker hangs; the caller holds mu.
func (p *pulse) hanging() chan struct{} {
	if p.hang == nil {
		p.hang = make(chan struct{})
	}
	return p.hang
}

// ask tells whether a question is to be asked now.
func (p *pulse) ask() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.asked
	p.asked = true
	return !was
}

// answered takes the end of a question.
func (p *pulse) answered(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = false
	if err == nil {
		p.reset()
	}
}

// state tells how long the worker has not answered, and gives what is closed while it hangs.
func (p *pulse) state() (silent time.Duration, hang <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent, p.hanging()
}

// hangError says that a worker does not answer its heartbeat.
type hangError struct {
	pid    int
	silent time.Duration
	limit  time.Duration // after which it is replaced; 0: never
}

// Error implements error.
func (e *hangError) Error() string {
	then := fmt.Sprintf("it is replaced after %v", e.limit)
	if e.limit == 0 {
		then = "limits.worker_hang is 0, so it is not replaced by itself"
	}
	return fmt.Sprintf("the worker (pid %d) hangs: it has not answered for %v; %s", e.pid, e.silent.Round(time.Second), then)
}

// hung is a hangError while the worker hangs.
func (c *child) hung() error {
	silent, hang := c.pulse.state()
	select {
	case <-hang:
		return &hangError{c.pid, silent, c.hangLimit}
	default:
		return nil
	}
}

// ask is peer.call for a worker that may hang: then it fails at once.
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
