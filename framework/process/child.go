package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"wsframe/framework/manager"
	"wsframe/library/log"
)

// killAfter is how long a worker may exceed the time in which it should end.
const killAfter = 5 * time.Second

// child is a worker as its master sees it.
type child struct {
	pid       int
	peer      *peer
	pulse     pulse
	hangLimit time.Duration // of silence, after which it is killed; 0: never
	tail      *tail
	kill      func()

	ready  chan bootResult // one value: booted or failed
	info   Ready           // once booted
	once   sync.Once
	exited chan struct{}
	status string // valid once exited is closed, as clean is
	clean  bool   // it has ended by itself, and well
	since  time.Time

	serves mark // the connections that were moved to it are its own
	handed mark // those that it had are another worker's
	left   handing
	count  func(Stats) // takes left's totals
}

// mark is something that happens once.
type mark struct {
	once sync.Once
	set  chan struct{} // closed when it has
}

func newMark() mark { return mark{set: make(chan struct{})} }

// handing is what a worker says when its connections are another one's.
type handing struct {
	Moved  int
	Totals Stats // of the connections that have ended in it
}

func newChild(t *tail, count func(Stats)) *child {
	return &child{tail: t, count: count, exited: make(chan struct{}), ready: make(chan bootResult, 1), serves: newMark(), handed: newMark()}
}

type bootResult struct {
	ready Ready
	err   error
}

// handle answers the worker's requests.
func (c *child) handle(ctx context.Context, r request) (any, error) {
	closeFiles(r.files)
	switch r.kind {
	case "ready":
		var info Ready
		err := r.decode(&info)
		c.once.Do(func() { c.ready <- bootResult{info, err} })
		return nil, err
	case "failed":
		var text string
		if err := r.decode(&text); err != nil {
			return nil, err
		}
		c.once.Do(func() { c.ready <- bootResult{err: errors.New(text)} })
		// No answer: boot ends the worker, which waits for one and so does not say the same a second time.
		<-ctx.Done()
		return nil, ctx.Err()
	case "serving":
		c.serves.once.Do(func() { close(c.serves.set) })
		return nil, nil
	case "handed":
		var h handing
		err := r.decode(&h)
		c.handed.once.Do(func() {
			c.left = h
			c.count(h.Totals)
			close(c.handed.set)
		})
		return nil, err
	}
	return nil, fmt.Errorf("unknown request %q", r.kind)
}

// boot waits until the worker is ready, or gives the reason why it is not; then it is dead.
func (c *child) boot(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var r bootResult
	select {
	case r = <-c.ready:
	case <-c.exited:
		select {
		case r = <-c.ready: // it had reported before
		default:
			r.err = fmt.Errorf("the worker ended while booting (%s)%s", c.status, c.tail.last())
		}
	case <-timer.C:
		r.err = fmt.Errorf("the worker was not ready after %v%s", limit, c.tail.last())
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err != nil {
		c.kill()
		<-c.exited
		return r.err
	}
	c.info, c.since = r.ready, time.Now()
	return nil
}

// ended tells whether the process is no more.
func (c *child) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// tell asks for something that has no answer. Where the worker is gone, its end has been seen when tell returns. One that hangs is
// a hangError.
func (c *child) tell(ctx context.Context, kind string) error {
	err := c.ask(ctx, kind, nil, nil)
	if errors.Is(err, errPeerGone) {
		c.endWithin(killAfter)
	}
	return err
}

// nodes asks for the nodes of the cluster. What is known is there beside an error too.
func (c *child) nodes(ctx context.Context) ([]manager.NodeInfo, error) {
	var a nodesAnswer
	if err := c.ask(ctx, "nodes", nil, &a); err != nil {
		return nil, err
	}
	if a.Error != "" {
		return a.Nodes, errors.New(a.Error)
	}
	return a.Nodes, nil
}

// endWithin waits for the worker's own end, then kills it.
func (c *child) endWithin(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-timer.C:
		c.kill()
		<-c.exited
	}
}

// tail passes a worker's stderr on by whole lines and keeps the end of it. It never fails: a reader that is gone must not
// stop the worker.
type tail struct {
	log.Lines

	mu   sync.Mutex
	kept []byte
}

const (
	tailSize = 64 << 10 // kept: the stacks of a crash are long, and its reason stands before them
	lastSize = 2 << 10  // shown
)

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.kept = append(t.kept, p[max(0, len(p)-tailSize):]...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	t.mu.Unlock()
	return t.Lines.Write(p)
}

// lines is a stream to w, which may be nil.
func lines(w io.Writer) log.Lines {
	if w == nil {
		w = io.Discard
	}
	return log.Lines{W: w}
}

// last is what the worker said last, ready to stand behind an error: its last lines, or the beginning of its crash.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.kept
	for _, crash := range []string{"panic: ", "fatal error: "} {
		at := bytes.LastIndex(text, []byte("\n"+crash)) + 1
		if at == 0 && !bytes.HasPrefix(text, []byte(crash)) {
			continue
		}
		text = text[at:min(at+lastSize/2, len(text))]
		return ":\n" + strings.TrimSpace(string(text))
	}
	if over := len(text) - lastSize; over > 0 {
		text = text[over:]
		if _, whole, ok := bytes.Cut(text, []byte("\n")); ok {
			text = whole
		}
	}
	if text = bytes.TrimSpace(text); len(text) > 0 {
		return ":\n" + string(text)
	}
	return ""
}
