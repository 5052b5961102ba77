package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	errReloading = errors.New("a reload is already running")
	errStopping  = errors.New("the server is stopping")
	errNoWorker  = errors.New("there is no worker at the moment; it is being restarted")
)

// roster knows which worker serves, and whether the server is reloading or stopping. The
// supervisor, reloads and the stop agree by it. Methods are safe for concurrent use.
type roster struct {
	life      context.Context // ends when the server is to end
	endLife   context.CancelFunc
	killAfter time.Duration // how long a worker may exceed its grace time

	mu        sync.Mutex
	worker    *child        // the one that serves; nil while there is none
	changed   chan struct{} // closed when worker changes
	files     []string      // of the configuration that the last serving worker has read
	restarts  int
	totals    Stats         // of workers that have handed their connections over
	reloading chan struct{} // closed at the end of the current reload; nil while there is none
	stopping  bool
	grace     time.Duration // of a stop
}

func newRoster(files []string, grace time.Duration) *roster {
	r := &roster{changed: make(chan struct{}), files: files, grace: grace, killAfter: killAfter}
	r.life, r.endLife = context.WithCancel(context.Background())
	return r
}

// serving returns the worker that serves, or errNoWorker.
func (r *roster) serving() (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.worker == nil {
		return nil, errNoWorker
	}
	return r.worker, nil
}

// watch returns the worker that serves, or nil, and a channel that is closed when another one does.
func (r *roster) watch() (c *child, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.worker, r.changed
}

// appoint makes c the worker that serves.
func (r *roster) appoint(c *child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(c)
}

// appointRestarted is appoint, except that it refuses while the server is stopping.
func (r *roster) appointRestarted(c *child) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopping {
		r.set(c)
	}
	return !r.stopping
}

// remove notes that c has ended by itself. It refuses where the server is stopping or another
// worker serves, and where a reload is under way, which may be bringing up the next one: then the
// end of that is returned.
func (r *roster) remove(c *child) (removed bool, reloading <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping || r.worker != c || r.reloading != nil {
		return false, r.reloading
	}
	r.set(nil)
	r.restarts++
	return true, nil
}

// set changes the worker. The caller holds mu.
func (r *roster) set(c *child) {
	r.worker = c
	if c != nil && c.info.Files != nil {
		r.files = c.info.Files
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// configFiles are the files that the next worker's configuration must have.
func (r *roster) configFiles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files
}

// count adds what has ended in a worker whose connections are another one's.
func (r *roster) count(s Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.totals.add(s)
}

// counts returns the worker that serves, or nil, the number of restarts, and the totals of workers
// that have handed over.
func (r *roster) counts() (c *child, restarts int, totals Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.worker, r.restarts, r.totals
}

// beginReload returns the worker that is to be replaced, or why no reload is possible now.
// endReload must follow, except after an error.
func (r *roster) beginReload() (old *child, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopping:
		return nil, errStopping
	case r.reloading != nil:
		return nil, errReloading
	case r.worker == nil:
		return nil, errNoWorker
	}
	if err := r.worker.hung(); err != nil {
		return nil, err
	}
	r.reloading = make(chan struct{})
	return r.worker, nil
}

func (r *roster) endReload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.reloading)
	r.reloading = nil
}

// stop begins the server's end. It reports whether this was the first call.
func (r *roster) stop(graceful bool) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return false
	}
	r.stopping = true
	if !graceful {
		r.grace = min(r.grace, 2*time.Second)
	}
	r.endLife()
	return true
}

// stopGrace is the grace time of a stop.
func (r *roster) stopGrace() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.grace
}

// end stops a worker and waits for its end, at most for the grace time and killAfter. A stop of the
// server limits that to its own grace time, and a worker that hangs to killAfter. n is the number
// of connections that the worker still had.
func (r *roster) end(c *child, s stopRequest) (n int, err error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.Grace+r.killAfter)
	defer cancel()
	defer context.AfterFunc(r.life, func() { time.AfterFunc(r.stopGrace()+r.killAfter, cancel) })()
	_, hang := c.pulse.state()
	go func() {
		select {
		case <-hang:
			time.AfterFunc(r.killAfter, cancel)
		case <-ctx.Done():
		}
	}()
	err = c.peer.call(ctx, "stop", s, &n)
	select {
	case <-c.exited:
		switch {
		case errors.Is(err, errPeerGone) && c.clean: // it was stopping by itself
			err = nil
		case errors.Is(err, errPeerGone):
			err = fmt.Errorf("the worker ended before it had stopped (%s)", c.status)
		}
	case <-ctx.Done():
		c.kill()
		<-c.exited
		err = fmt.Errorf("the worker did not end in %v and was killed", time.Since(begun).Round(100*time.Millisecond))
	}
	return n, err
}
