package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"wsframe/library/cache"
)

// A comparison runs in the Writer's goroutine. A change that happens after a connection was read is
// in the journal, and so is written after the comparison.

// comparison makes Redis and the live connections agree. Only the Writer uses it.
type comparison struct {
	c          *client
	journal    *journal
	local      *local
	numbers    *Numbers
	presence   *Presence
	departures *departures
	leftovers  *Leftovers

	batch       int  // commands of the next pipeline
	afterOutage bool // Redis failed since the last heal
	roster      roster
	suspects    map[int64]bool   // ghosts at the last heal
	doubts      map[int64]*Entry // connections that failed pipelines may still write
	doubtAt     time.Time        // when the last of them failed

	full       bool      // Redis has no memory; see full.go
	filledAt   time.Time // when fill was last tried
	loggedFull time.Time
}

// write runs a plan; part by part while Redis has no memory.
func (co *comparison) write(ctx context.Context, fill func(context.Context, *plan)) error {
	return co.c.write(ctx, co.full, fill)
}

// reconcile makes Redis and the live connections agree on those fds. Missing sets of a live one are
// written and surplus ones removed; a dead one is removed. extra adds sets to those that Redis
// itself lists for a connection.
func (co *comparison) reconcile(ctx context.Context, fds []int64, extra map[int64]*Entry) error {
	co.journal.attemptAll()
	// The newest connection of a user comes first, and gets the user's entry.
	slices.SortFunc(fds, func(a, b int64) int { return cmp.Compare(b, a) })
	wanted := co.local.entries(fds)
	// Removals come first, since a Redis without memory refuses the rest.
	slices.SortStableFunc(fds, func(a, b int64) int { return rank(wanted[a]) - rank(wanted[b]) })
	live := slices.IndexFunc(fds, func(fd int64) bool { return wanted[fd] != nil })
	if live < 0 {
		live = len(fds)
	}
	err := co.compare(ctx, fds[:live], wanted, extra, false)
	if err == nil {
		err = co.compare(ctx, fds[live:], wanted, extra, false)
	}
	if cache.Full(err) {
		co.noteFull(err)
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

// compare is reconcile for fds that are all live or all dead. With fresh it overwrites the entries
// of their users. When Redis has no memory the rest is noted as lacking, and its error is returned.
func (co *comparison) compare(ctx context.Context, fds []int64, wanted, extra map[int64]*Entry, fresh bool) error {
	for at := 0; at < len(fds); {
		chunk := fds[at:min(at+co.batch/8, len(fds))] // about eight commands for each
		found, err := co.c.read(ctx, chunk)
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
		if err := co.presence.recordDepartures(ctx, found, func(fd int64) *Entry { return wanted[fd] }); err != nil {
			return err
		}
		err = co.write(ctx, func(ctx context.Context, p *plan) {
			for i := range found {
				if e := wanted[found[i].FD]; e != nil {
					co.correct(ctx, p, e, &found[i], fresh)
				} else {
					p.remove(ctx, &found[i])
				}
			}
		})
		if cache.Full(err) {
			co.lack(fds[at:], extra)
			if errors.Is(err, errPartial) {
				co.journal.heard(chunk)
			}
			return err
		}
		if err != nil {
			for _, fd := range chunk {
				co.doubt(fd, wanted[fd])
			}
			return fmt.Errorf("compare redis with the live connections: %w", err)
		}
		for _, fd := range chunk {
			if wanted[fd] != nil {
				co.roster.add(fd)
			} else {
				co.roster.remove(fd)
			}
		}
		at += len(chunk)
	}
	return nil
}

// correct writes the entry is, and removes what only Redis has of the connection.
func (co *comparison) correct(ctx context.Context, p *plan, is, found *Entry, fresh bool) {
	p.entry(ctx, is, fresh)
	fd, k := str(is.FD), co.c.keys
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

// doubt notes a connection of a failed pipeline, which Redis may still execute after later ones.
func (co *comparison) doubt(fd int64, e *Entry) {
	d := co.doubts[fd]
	if d == nil {
		d = &Entry{FD: fd}
		co.doubts[fd] = d
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

func (co *comparison) doubtOps(ops []op) {
	for i := range ops {
		switch o := &ops[i]; o.kind {
		case opOpened:
			co.doubt(o.fd, o.entry)
		case opKeyAdded, opCloseKeyAdded:
			co.doubt(o.fd, &Entry{Keys: []string{o.key}})
		case opListenerAdded:
			co.doubt(o.fd, &Entry{Listeners: []string{o.key}})
		case opKeyRemoved, opCloseKeyRemoved, opListenerRemoved:
			co.doubt(o.fd, nil)
		}
	}
}

// settleDoubts reconciles the connections of failed pipelines.
func (co *comparison) settleDoubts(ctx context.Context) error {
	doubts := co.doubts
	fds := slices.DeleteFunc(slices.Collect(maps.Keys(doubts)), func(fd int64) bool { return fd < co.numbers.floor.Load() })
	co.doubts = map[int64]*Entry{}
	err := co.reconcile(ctx, fds, doubts)
	if err != nil {
		for fd, e := range doubts {
			co.doubt(fd, e)
		}
	}
	return err
}

// finish settles doubts before a stop.
func (co *comparison) finish(ctx context.Context) error {
	if len(co.doubts) == 0 {
		return nil
	}
	return co.settleDoubts(ctx)
}

// rewrite writes all live connections into a Redis that was emptied.
func (co *comparison) rewrite(ctx context.Context) error {
	if err := co.numbers.check(ctx); err != nil {
		return err
	}
	if err := co.reconcile(ctx, co.local.fds(), nil); err != nil {
		return err
	}
	return co.departures.again(ctx)
}

// resync makes Redis and the live connections agree after the journal was dropped. The listeners of
// connections that ended meanwhile were notified.
func (co *comparison) resync(ctx context.Context) error {
	known, err := co.c.members(ctx, co.c.keys.fds(co.c.self()))
	if err != nil {
		return err
	}
	if err := co.numbers.check(ctx); err != nil {
		return err
	}
	// Redis itself lists their sets, unless it has lost a part of that, for example by a FLUSHALL.
	for _, o := range co.journal.places() {
		if co.doubtAt = co.c.now(); o.kind == opClosed {
			co.doubt(o.fd, o.entry)
		} else {
			co.doubt(o.fd, &Entry{Keys: []string{o.key}})
		}
	}
	return co.reconcile(ctx, append(co.local.fds(), co.ghosts(known)...), nil)
}

// ghosts returns the known fds that are not alive; none before the previous worker of a reload has
// ended, which may have them.
func (co *comparison) ghosts(known []string) []int64 {
	if !co.leftovers.settled.Load() {
		return nil
	}
	var ghosts []int64
	for _, s := range known {
		if fd, err := strconv.ParseInt(s, 10, 64); err == nil && !co.local.alive(fd) && !co.leftovers.has(fd) {
			ghosts = append(ghosts, fd)
		}
	}
	return ghosts
}

// heal finds out whether Redis has lost connections, or has some that are not live. It compares the
// length of the node's list, and some of the connections in full.
func (co *comparison) heal(ctx context.Context) error {
	if err := co.numbers.check(ctx); err != nil {
		return err
	}
	if co.roster.known && !co.afterOutage && !co.full && len(co.suspects) == 0 {
		length, err := co.c.length(ctx, co.c.keys.fds(co.c.self()))
		if err != nil {
			return err
		}
		if length == co.roster.length {
			return co.healSome(ctx)
		}
	}
	return co.healAll(ctx)
}

// healSome compares the connections whose turn it is.
func (co *comparison) healSome(ctx context.Context) error {
	fds := co.roster.turn()
	if co.leftovers.settled.Load() {
		for _, fd := range fds {
			if !co.local.alive(fd) {
				co.suspect(fd)
			}
		}
	}
	return co.reconcile(ctx, slices.DeleteFunc(fds, func(fd int64) bool { return !co.local.alive(fd) }), nil)
}

func (co *comparison) suspect(fd int64) {
	if co.suspects == nil {
		co.suspects = map[int64]bool{}
	}
	co.suspects[fd] = true
}

// healAll compares the node's list with the live connections. Missing ones are written. Surplus
// ones are removed when two heals in a row have found them, since at the first their listeners may
// still run. Those whose turn it is are compared in full; all of them when the list is empty, and
// after an outage, since a Redis that failed over may have lost its last second.
func (co *comparison) healAll(ctx context.Context) error {
	known, err := co.c.members(ctx, co.c.keys.fds(co.c.self()))
	if err != nil {
		return err
	}
	co.roster.forget()
	for _, s := range known {
		if fd, err := strconv.ParseInt(s, 10, 64); err == nil {
			co.roster.add(fd)
		}
	}
	live := co.local.fds()
	missing := map[int64]bool{}
	for _, fd := range live {
		if !co.roster.has(fd) {
			missing[fd] = true
		}
	}
	co.journal.opened(func(fd int64) { delete(missing, fd) }) // still in the journal
	fds := slices.DeleteFunc(co.roster.turn(), func(fd int64) bool { return !co.local.alive(fd) })
	fds = append(fds, slices.Collect(maps.Keys(missing))...)
	if len(missing) > 0 && len(known) == 0 {
		co.c.log.Warn("redis has forgotten the connections; all are written again", zap.Int("missing", len(missing)))
	}
	if co.afterOutage || len(missing) > 0 && len(known) == 0 {
		fds = live
	}
	full := co.full // fill writes when there is memory
	if full {
		fds = nil
	}
	ghosts, suspected := co.ghosts(known), co.suspects
	co.suspects = nil
	for _, fd := range ghosts {
		if co.suspect(fd); suspected[fd] {
			fds = append(fds, fd)
		}
	}
	if err := co.reconcile(ctx, fds, nil); err != nil {
		return err
	}
	co.afterOutage = co.afterOutage && full
	co.roster.known = co.leftovers.settled.Load()
	return nil
}

// enlist notes ops that Redis has executed.
func (co *comparison) enlist(ops []op) {
	floor := co.numbers.floor.Load()
	for i := range ops {
		switch o := &ops[i]; {
		case o.fd < floor:
		case o.kind == opOpened:
			co.roster.add(o.fd)
		case o.kind == opClosed:
			co.roster.remove(o.fd)
		}
	}
}

// slower makes pipelines shorter, so that a slow Redis can execute one within the timeout.
func (co *comparison) slower() { co.batch = max(co.batch/2, pipeline/32) }
