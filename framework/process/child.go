package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// child is a worker as its master sees it.
type child struct {
	pid  int
	peer *peer
	tail *tail
	kill func()

	ready  chan bootResult // one value: booted or failed
	info   Ready           // once booted
	once   sync.Once
	exited chan struct{}
	status string // valid once exited is closed
	ending bool   // guarded by Master.mu: the master has asked it to end
	since  time.Time
}

type bootResult struct {
	ready Ready
	err   error
}

// handle answers the worker's requests.
func (c *child) handle(_ context.Context, kind string, body json.RawMessage) (any, error) {
	switch kind {
	case "ready":
		var r Ready
		err := json.Unmarshal(body, &r)
		c.once.Do(func() { c.ready <- bootResult{r, err} })
		return nil, err
	case "failed":
		var text string
		if err := json.Unmarshal(body, &text); err != nil {
			return nil, err
		}
		c.once.Do(func() { c.ready <- bootResult{err: errors.New(text)} })
		return nil, nil
	}
	return nil, fmt.Errorf("unknown request %q", kind)
}

// boot waits until the worker is ready, or gives the reason why it is not; then it is dead.
func (c *child) boot(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var err error
	select {
	case r := <-c.ready:
		if r.err == nil {
			c.info, c.since = r.ready, time.Now()
			return nil
		}
		err = r.err
	case <-c.exited:
		select {
		case r := <-c.ready:
			err = r.err
		default:
		}
		if err == nil {
			err = fmt.Errorf("the worker ended while booting (%s)%s", c.status, c.tail.last())
		}
	case <-timer.C:
		err = fmt.Errorf("the worker was not ready after %v%s", limit, c.tail.last())
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.kill()
	<-c.exited
	return err
}

// tail passes a worker's stderr on and keeps its last lines.
type tail struct {
	w io.Writer

	mu   sync.Mutex
	kept []byte
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	t.mu.Unlock()
	return t.w.Write(p)
}

// last is what it said last, ready to stand behind an error.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.kept)); text != "" {
		return ":\n" + text
	}
	return ""
}
