package cluster

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"wsframe/library/cache"
)

// Removals never wait for memory. A Redis that has none refuses additions and takes removals, so the writer divides what happened: what
// removes is written at once, and of what adds only the connections are noted, as lacking. They are compared with Redis, as after
// an outage, until it takes them.

const (
	fillTime = time.Second // between two tries to write what Redis lacks
	fullSaid = time.Minute // between two log lines of it
)

// lack is what Redis has not taken of a live connection.
type lack struct {
	opened  bool // its Opened: its user's entry is to be written, too
	unheard bool // all of it
}

// isFull notes that Redis has no memory.
func (n *Node) isFull(err error) {
	if n.full.Swap(true) {
		return
	}
	now := n.cfg.Now()
	if n.filledAt = now; now.Sub(n.saidFull) < fullSaid {
		return
	}
	n.saidFull = now
	n.cfg.Log.Warn("redis has no memory: the bookkeeping of new connections and rooms waits, that of ended ones does not", zap.Error(err))
}

// removing gives those of the ops that need no memory, and notes which connections the others are about.
func (n *Node) removing(ops []op) []op {
	kept := make([]op, 0, len(ops))
	lacking := map[int64]lack{}
	var ended []int64
	for i := range ops {
		switch o := &ops[i]; o.kind {
		case opOpened:
			lacking[o.fd] = lack{opened: true, unheard: n.doubts[o.fd] == nil}
		case opKeyAdded, opCloseKeyAdded, opListenerAdded:
			if _, ok := lacking[o.fd]; !ok && !n.gone(o.fd) {
				lacking[o.fd] = lack{}
			}
		case opClosed:
			delete(lacking, o.fd)
			ended = append(ended, o.fd)
			kept = append(kept, *o)
		default:
			kept = append(kept, *o)
		}
	}
	floor := n.floor.Load()
	maps.DeleteFunc(lacking, func(fd int64, _ lack) bool { return fd < floor })
	n.j.lack(lacking)
	n.j.filled(ended)
	return kept
}

// lack notes live connections that Redis has no memory for.
func (n *Node) lack(fds []int64, extra map[int64]*Entry) {
	lacking := make(map[int64]lack, len(fds))
	for _, fd := range fds {
		lacking[fd] = lack{}
		if x := extra[fd]; x != nil {
			n.doubt(fd, x)
			n.doubtAt = n.cfg.Now()
		}
	}
	n.j.lack(lacking)
}

// fill tries to write what Redis lacks. What ends meanwhile is left to its Closed.
func (n *Node) fill(ctx context.Context) error {
	n.filledAt = n.cfg.Now()
	lacking := n.j.lacks()
	wanted := map[int64]*Entry{}
	n.live(func(e *Entry) bool {
		if _, ok := lacking[e.FD]; ok {
			wanted[e.FD] = e
		}
		return true
	})
	var opened, others []int64
	for _, fd := range slices.Sorted(maps.Keys(wanted)) { // of a user's connections the newest has the last word
		if lacking[fd].opened {
			opened = append(opened, fd)
		} else {
			others = append(others, fd)
		}
	}
	for i, fds := range [][]int64{opened, others} {
		for chunk := range slices.Chunk(fds, pipeline/8) {
			switch err := n.compare(ctx, chunk, wanted, nil, i == 0); {
			case cache.Full(err):
				return nil
			case err != nil:
				return err
			}
			n.j.filled(chunk)
		}
	}
	if len(lacking) > len(wanted) {
		return nil
	}
	n.full.Store(false)
	if len(wanted) > 0 {
		n.cfg.Log.Info("redis has memory again")
	}
	return nil
}

// lack notes connections that Redis lacks something of.
func (j *journal) lack(fds map[int64]lack) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lacking == nil {
		j.lacking = map[int64]lack{}
	}
	for fd, l := range fds {
		if was, ok := j.lacking[fd]; ok {
			l.opened, l.unheard = l.opened || was.opened, was.unheard
		}
		j.lacking[fd] = l
	}
}

func (j *journal) lacks() map[int64]lack {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.lacking)
}

// heard notes that Redis may have been told of these connections.
func (j *journal) heard(fds []int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, fd := range fds {
		if l, ok := j.lacking[fd]; ok {
			l.unheard = false
			j.lacking[fd] = l
		}
	}
}

// filled notes that Redis lacks nothing of these connections.
func (j *journal) filled(fds []int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, fd := range fds {
		delete(j.lacking, fd)
	}
	j.notify()
}
