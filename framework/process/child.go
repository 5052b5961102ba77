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
	hangLimit time.Duration // of silence, after which it is killed; 0 = never
	tail      *tail
	kill      func()

	ready  chan bootResult // 1: it has booted, or failed
	info   Ready           // once booted
	once   sync.Once
	exited chan struct{}
	status string // how it ended; valid once exited is closed
	clean  bool   // it has ended by itself, with exit code 0; valid once exited is closed
	since  time.Time

	serves     event // it serves the connections that were moved to it
	handed     event // another worker has the connections that it had
	handedOver handOver
	count      func(Stats) // adds the totals of handedOver
}

// event is something that happens once.
type event struct {
	once sync.Once
	set  chan struct{} // closed when it has happened
}

func newEvent() event { return event{set: make(chan struct{})} }

// handOver is a worker's message that another one has its connections.
type handOver struct {
	Moved  int
	Totals Stats // of the connections that have ended in it
}

func newChild(t *tail, count func(Stats)) *child {
	return &child{tail: t, count: count, exited: make(chan struct{}), ready: make(chan bootResult, 1), serves: newEvent(), handed: newEvent()}
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
		// There is no reply: the worker waits for one until boot ends it, and so logs nothing
		// itself.
		<-ctx.Done()
		return nil, ctx.Err()
	case "serving":
		c.serves.once.Do(func() { close(c.serves.set) })
		return nil, nil
	case "handed":
		var h handOver
		err := r.decode(&h)
		c.handed.once.Do(func() {
			c.handedOver = h
			c.count(h.Totals)
			close(c.handed.set)
		})
		return nil, err
	}
	return nil, fmt.Errorf("unknown request %q", r.kind)
}

// boot waits until the worker is ready. After an error, which says why it is not, the worker is
// dead.
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

// ended reports whether the process has ended.
func (c *child) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// tell sends a request whose reply has no body. It returns a hangError where the worker hangs.
// Where the worker is gone, tell returns after its end has been noticed.
func (c *child) tell(ctx context.Context, kind string) error {
	err := c.ask(ctx, kind, nil, nil)
	if errors.Is(err, errPeerGone) {
		c.endWithin(killAfter)
	}
	return err
}

// nodes asks for the nodes of the cluster. Known nodes are returned beside an error as well.
func (c *child) nodes(ctx context.Context) ([]manager.NodeInfo, error) {
	var a nodesReply
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

// tail forwards a worker's stderr by whole lines and keeps the end of it. Write never fails, so
// that the worker continues even if nobody reads its output.
type tail struct {
	log.Lines

	mu   sync.Mutex
	kept []byte
}

const (
	tailSize = 64 << 10 // kept: the reason of a crash stands before its stacks, which are long
	lastSize = 2 << 10  // shown to people
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

// lines returns a writer of whole lines to w; nil = they are discarded.
func lines(w io.Writer) log.Lines {
	if w == nil {
		w = io.Discard
	}
	return log.Lines{W: w}
}

// last returns the end of the worker's output as the end of an error message: its last lines, or
// the beginning of its crash.
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
