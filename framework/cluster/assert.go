package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// All of this runs in the writer's goroutine: whatever changes after a connection was read is noted after that, and so
// is written after it.

// parts is into how many parts the live connections are divided; one of them is asserted each time, whatever Redis has.
const parts = 16

// live walks the connections that are this incarnation's.
func (n *Node) live(yield func(*Entry) bool) {
	if n.cfg.Live == nil {
		return
	}
	floor := n.floor.Load()
	n.cfg.Live(func(e Entry) bool { return e.FD < floor || yield(&e) })
}

// alive gives a function that tells whether an fd which Redis knows is a live connection.
func (n *Node) alive() func(fd int64) bool {
	if n.cfg.Alive != nil {
		return n.cfg.Alive
	}
	fds := map[int64]bool{}
	n.live(func(e *Entry) bool { fds[e.FD] = true; return true })
	return func(fd int64) bool { return fds[fd] }
}

// assert writes the live connections that the filter wants.
func (n *Node) assert(ctx context.Context, want func(fd int64) bool) error {
	var entries []*Entry
	count := 0
	flush := func() error {
		err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for _, e := range entries {
				n.writeEntry(ctx, p, e)
			}
		})
		entries, count = entries[:0], 0
		return err
	}
	var err error
	n.live(func(e *Entry) bool {
		if !want(e.FD) {
			return true
		}
		if entries, count = append(entries, e), count+5+len(e.Keys); count >= pipeline {
			err = flush()
		}
		return err == nil
	})
	if err == nil && len(entries) > 0 {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("assert the live connections: %w", err)
	}
	return nil
}

func (n *Node) assertAll(ctx context.Context) error {
	if err := n.watchCounter(ctx); err != nil {
		return err
	}
	return n.assert(ctx, func(int64) bool { return true })
}

// resync makes Redis and the live connections agree after the journal was dropped. The listeners of connections that
// ended meanwhile have been told.
func (n *Node) resync(ctx context.Context) error {
	known, err := n.members(ctx, n.keys.fds(n.self()))
	if err != nil {
		return err
	}
	if err := n.assertAll(ctx); err != nil {
		return err
	}
	return n.removeGhosts(ctx, n.ghosts(known))
}

// ghosts are the known fds that do not live. Before the previous worker of a reload has ended, it may hold them.
func (n *Node) ghosts(known []string) []string {
	if !n.settled.Load() {
		return nil
	}
	alive := n.alive()
	return slices.DeleteFunc(slices.Clone(known), func(s string) bool {
		fd, err := strconv.ParseInt(s, 10, 64)
		return err != nil || alive(fd) || n.orphaned(fd)
	})
}

func (n *Node) removeGhosts(ctx context.Context, fds []string) error {
	for chunk := range slices.Chunk(fds, 64) {
		entries, err := n.read(ctx, chunk)
		if err != nil {
			return err
		}
		err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for i := range entries {
				n.removeEntry(ctx, p, &entries[i])
			}
		})
		if err != nil {
			return fmt.Errorf("remove connections that have ended: %w", err)
		}
	}
	return nil
}

// read is what Redis knows of the connections.
func (n *Node) read(ctx context.Context, fds []string) ([]Entry, error) {
	type answer struct {
		auth            *redis.StringCmd
		keys, listeners *redis.StringSliceCmd
	}
	answers := make([]answer, len(fds))
	err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, fd := range fds {
			answers[i] = answer{p.HGet(ctx, n.keys.info(), fd), p.SMembers(ctx, n.keys.closing(fd)), p.SMembers(ctx, n.keys.listeners(fd))}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read what redis knows of %d connections: %w", len(fds), err)
	}
	entries := make([]Entry, len(fds))
	for i, a := range answers {
		fd, _ := strconv.ParseInt(fds[i], 10, 64)
		auth := []byte(a.auth.Val())
		entries[i] = Entry{FD: fd, Auth: auth, UID: uidOf(auth), Keys: a.keys.Val(), Listeners: a.listeners.Val()}
	}
	return entries, nil
}

// heal compares the node's list with what lives. What is missing is written; what is too much twice in a row is removed:
// the first time its listeners may just be running. A part of the connections is written in any case, all of them where
// the list is empty, and after an outage: a Redis that failed over has lost its last second.
func (n *Node) heal(ctx context.Context) error {
	if err := n.watchCounter(ctx); err != nil {
		return err
	}
	known, err := n.members(ctx, n.keys.fds(n.self()))
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(known))
	for _, fd := range known {
		there[fd] = true
	}
	missing := map[int64]bool{}
	n.live(func(e *Entry) bool {
		if !there[str(e.FD)] {
			missing[e.FD] = true
		}
		return true
	})
	n.j.opened(func(fd int64) { delete(missing, fd) }) // on its way
	all := n.shaken
	if len(missing) > 0 && len(known) == 0 {
		all = true
		n.cfg.Log.Warn("redis has forgotten the connections; all are written again", zap.Int("missing", len(missing)))
	}
	n.round++
	err = n.assert(ctx, func(fd int64) bool { return all || missing[fd] || uint64(fd)%parts == n.round%parts })
	if err != nil {
		return err
	}
	n.shaken = false

	ghosts := n.ghosts(known)
	again := slices.DeleteFunc(slices.Clone(ghosts), func(fd string) bool { return !n.suspects[fd] })
	n.suspects = make(map[string]bool, len(ghosts))
	for _, fd := range ghosts {
		n.suspects[fd] = true
	}
	return n.removeGhosts(ctx, again)
}

// opened walks the connections whose Opened is not in Redis yet.
func (j *journal) opened(f func(fd int64)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, list := range [][]op{j.taken[j.at:], j.ops} {
		for i := range list {
			if list[i].kind == opOpened {
				f(list[i].fd)
			}
		}
	}
}
