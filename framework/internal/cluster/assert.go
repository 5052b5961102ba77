package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/library/cache"
)

// All of this runs in the writer's goroutine: whatever changes after a connection was read is noted after that, and so
// is written after it.

// parts is into how many parts the live connections are divided; one of them is compared each time in full.
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

// reconcile makes Redis and the live connections agree on those fds: a live one's places are written and those too many
// removed, a dead one is removed. Redis's own lists say where it may be, extra says where else.
func (n *Node) reconcile(ctx context.Context, fds []int64, extra map[int64]*Entry) error {
	n.j.tryAll()
	slices.SortFunc(fds, func(a, b int64) int { return cmp.Compare(b, a) }) // of a user's connections the newest first
	wanted := make(map[int64]*Entry, len(fds))
	for _, fd := range fds {
		wanted[fd] = nil
	}
	n.live(func(e *Entry) bool {
		if _, ok := wanted[e.FD]; ok {
			wanted[e.FD] = e
		}
		return true
	})
	// What only takes goes first: a full Redis refuses the rest.
	slices.SortStableFunc(fds, func(a, b int64) int { return rank(wanted[a]) - rank(wanted[b]) })
	live := slices.IndexFunc(fds, func(fd int64) bool { return wanted[fd] != nil })
	if live < 0 {
		live = len(fds)
	}
	err := n.compare(ctx, fds[:live], wanted, extra, false)
	if err == nil {
		err = n.compare(ctx, fds[live:], wanted, extra, false)
	}
	if cache.Full(err) {
		n.isFull(err)
		return nil
	}
	return err
}

func rank(e *Entry) int {
	if e == nil {
		return 0
	}
	return 1
}

// compare is reconcile for fds of one kind: all live, or none. What a full Redis does not take is noted as lacking, and the error is its. fresh = their
// users' entries are theirs, whoever has them.
func (n *Node) compare(ctx context.Context, fds []int64, wanted, extra map[int64]*Entry, fresh bool) error {
	for at := 0; at < len(fds); {
		chunk := fds[at:min(at+n.batch/8, len(fds))] // each takes about eight commands
		found, err := n.read(ctx, chunk)
		if err != nil {
			return err
		}
		for i := range found {
			if x := extra[found[i].FD]; x != nil {
				found[i].Keys = append(found[i].Keys, x.Keys...)
				found[i].Listeners = append(found[i].Listeners, x.Listeners...)
				if found[i].UID == "" {
					found[i].UID = x.UID
				}
			}
		}
		if err := n.lose(ctx, found, func(fd int64) *Entry { return wanted[fd] }); err != nil {
			return err
		}
		err = n.write(ctx, func(ctx context.Context, p *plan) {
			for i := range found {
				if e := wanted[found[i].FD]; e != nil {
					n.correct(ctx, p, e, &found[i], fresh)
				} else {
					n.removeEntry(ctx, p, &found[i])
				}
			}
		})
		if cache.Full(err) {
			n.lack(fds[at:], extra)
			if errors.Is(err, errPartly) {
				n.j.heard(chunk)
			}
			return err
		}
		if err != nil {
			for _, fd := range chunk {
				n.doubt(fd, wanted[fd])
			}
			return fmt.Errorf("compare redis with the live connections: %w", err)
		}
		at += len(chunk)
	}
	return nil
}

// correct writes what is, and removes what only Redis has.
func (n *Node) correct(ctx context.Context, p *plan, is, found *Entry, fresh bool) {
	n.writeEntry(ctx, p, is, fresh)
	fd, k := str(is.FD), n.keys
	for _, key := range found.Keys {
		if !slices.Contains(is.Keys, key) {
			p.places.SRem(ctx, k.prefix+key, fd)
			p.forget.SRem(ctx, k.closing(fd), key)
		}
	}
	for _, name := range found.Listeners {
		if !slices.Contains(is.Listeners, name) {
			p.forget.SRem(ctx, k.listeners(fd), name)
		}
	}
}

// doubt notes what a pipeline wrote that has failed: Redis may still execute it, at any time, after later ones.
func (n *Node) doubt(fd int64, e *Entry) {
	d := n.doubts[fd]
	if d == nil {
		d = &Entry{FD: fd}
		n.doubts[fd] = d
	}
	if e != nil {
		d.UID = max(d.UID, e.UID)
		d.Keys = union(d.Keys, e.Keys)
		d.Listeners = union(d.Listeners, e.Listeners)
	}
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(slices.Clip(a), s)
		}
	}
	return a
}

func (n *Node) doubtOps(ops []op) {
	for i := range ops {
		switch o := &ops[i]; o.kind {
		case opOpened:
			n.doubt(o.fd, o.entry)
		case opKeyAdded, opCloseKeyAdded:
			n.doubt(o.fd, &Entry{Keys: []string{o.key}})
		case opListenerAdded:
			n.doubt(o.fd, &Entry{Listeners: []string{o.key}})
		case opKeyRemoved, opCloseKeyRemoved, opListenerRemoved:
			n.doubt(o.fd, nil)
		}
	}
}

// settleDoubts compares what failed pipelines touched.
func (n *Node) settleDoubts(ctx context.Context) error {
	doubts := n.doubts
	fds := slices.DeleteFunc(slices.Collect(maps.Keys(doubts)), func(fd int64) bool { return fd < n.floor.Load() })
	n.doubts = map[int64]*Entry{}
	err := n.reconcile(ctx, fds, doubts)
	if err != nil {
		for fd, e := range doubts {
			n.doubt(fd, e)
		}
	}
	return err
}

// rewrite writes all live connections into a Redis that has nothing of them.
func (n *Node) rewrite(ctx context.Context) error {
	if err := n.watchCounter(ctx); err != nil {
		return err
	}
	if err := n.reconcile(ctx, n.liveFDs(), nil); err != nil {
		return err
	}
	return n.leaveAgain(ctx)
}

func (n *Node) liveFDs() []int64 {
	var fds []int64
	n.live(func(e *Entry) bool { fds = append(fds, e.FD); return true })
	return fds
}

// resync makes Redis and the live connections agree after the journal was dropped. The listeners of connections that
// ended meanwhile have been told.
func (n *Node) resync(ctx context.Context) error {
	known, err := n.members(ctx, n.keys.fds(n.self()))
	if err != nil {
		return err
	}
	if err := n.watchCounter(ctx); err != nil {
		return err
	}
	// Redis itself tells where they were, unless a part of that was lost, as by a FLUSHALL in the middle of it.
	for _, o := range n.j.places() {
		if n.doubtAt = n.cfg.Now(); o.kind == opClosed {
			n.doubt(o.fd, o.entry)
		} else {
			n.doubt(o.fd, &Entry{Keys: []string{o.key}})
		}
	}
	return n.reconcile(ctx, append(n.liveFDs(), n.ghosts(known)...), nil)
}

// ghosts are the known fds that do not live. Before the previous worker of a reload has ended, it may hold them.
func (n *Node) ghosts(known []string) []int64 {
	if !n.settled.Load() {
		return nil
	}
	alive := n.alive()
	var ghosts []int64
	for _, s := range known {
		if fd, err := strconv.ParseInt(s, 10, 64); err == nil && !alive(fd) && !n.orphaned(fd) {
			ghosts = append(ghosts, fd)
		}
	}
	return ghosts
}

// read is what Redis knows of the connections.
func (n *Node) read(ctx context.Context, fds []int64) ([]Entry, error) {
	type answer struct {
		auth            *redis.StringCmd
		keys, listeners *redis.StringSliceCmd
	}
	answers := make([]answer, len(fds))
	err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, number := range fds {
			fd := str(number)
			answers[i] = answer{p.HGet(ctx, n.keys.info(), fd), p.SMembers(ctx, n.keys.closing(fd)), p.SMembers(ctx, n.keys.listeners(fd))}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read what redis knows of %d connections: %w", len(fds), err)
	}
	entries := make([]Entry, len(fds))
	for i, a := range answers {
		auth := []byte(a.auth.Val())
		entries[i] = Entry{FD: fds[i], Auth: auth, UID: uidOf(auth), Keys: a.keys.Val(), Listeners: a.listeners.Val()}
	}
	return entries, nil
}

// heal compares the node's list with what lives. What is missing is written; what is too much twice in a row is removed:
// the first time its listeners may just be running. A part of the connections is compared in any case, all of them
// where the list is empty, and after an outage: a Redis that failed over has lost its last second.
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
	all, full := n.shaken, n.full.Load()               // what is missing is written when there is memory
	if len(missing) > 0 && len(known) == 0 {
		all = true
		n.cfg.Log.Warn("redis has forgotten the connections; all are written again", zap.Int("missing", len(missing)))
	}
	n.round++
	ghosts := n.ghosts(known)
	fds := slices.DeleteFunc(n.liveFDs(), func(fd int64) bool {
		return full || !all && !missing[fd] && uint64(fd)%parts != n.round%parts
	})
	suspects := make(map[int64]bool, len(ghosts))
	for _, fd := range ghosts {
		if suspects[fd] = true; n.suspects[fd] {
			fds = append(fds, fd)
		}
	}
	n.suspects = suspects
	if err := n.reconcile(ctx, fds, nil); err != nil {
		return err
	}
	n.shaken = n.shaken && full
	return nil
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
