package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// away makes departures due immediately.
func away(c *Config) { c.Away, c.Timeout = time.Millisecond, 100*time.Millisecond }

// hall records announced departures, and knows who is in the room.
type hall struct {
	mu   sync.Mutex
	told []string
	here map[string]bool
	err  error
}

func (h *hall) look(_ context.Context, list []Present) ([]bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	here := make([]bool, len(list))
	for i, p := range list {
		here[i] = h.here[p.ID]
	}
	return here, h.err
}

func (h *hall) tell(p Present) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, p.Room+" "+p.ID+" "+p.Nickname)
}

func (h *hall) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.told))
}

// depart calls Depart until no departure remains, and checks the number of announced ones.
func (h *hall) depart(t *testing.T, told int, workers ...*conns) {
	t.Helper()
	for _, w := range workers {
		w.flush()
	}
	c, k := workers[0].n.c.redis, workers[0].n.c.keys
	eventually(t, "all to be looked at", func() bool {
		var wait sync.WaitGroup
		for _, w := range workers {
			wait.Go(func() { _, _ = w.n.Presence.Depart(t.Context(), h.look, h.tell) }) // it is looked at again
		}
		wait.Wait()
		return c.Exists(t.Context(), k.leaving()).Val() == 0
	})
	if got := h.got(); len(got) != told {
		t.Fatalf("told %v, want %d", got, told)
	}
}

func coming(id, ticket string) Present {
	return Present{Room: "R", ID: id, Nickname: "der " + id, Ticket: ticket}
}

func came(t *testing.T, w *conns, list ...Present) []bool {
	t.Helper()
	fresh, err := w.n.Presence.Came(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

func TestPresent(t *testing.T) { bubble(t, testPresent) }

func testPresent(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a, b := worker(t, c, "a", away), worker(t, s.client(t), "b", away)
	h := &hall{here: map[string]bool{}}
	for range 2 { // an answer may be lost
		if fresh := came(t, a, coming("ann", "1"), coming("ben", "2")); !slices.Equal(fresh, []bool{true, true}) {
			t.Fatal(fresh)
		}
	}
	for range 2 {
		if fresh := came(t, b, coming("ann", "3")); fresh[0] {
			t.Fatal("she was there")
		}
	}
	// Still there, then gone; whoever looks.
	h.here["ann"] = true
	a.n.Presence.Leaving(coming("ann", ""), true)
	h.depart(t, 0, a, b)
	h.here["ann"] = false
	a.n.Presence.Leaving(coming("ann", ""), true)
	b.n.Presence.Leaving(coming("ben", ""), false)
	b.n.Presence.Leaving(coming("nobody", ""), false)
	h.depart(t, 2, a, b)
	if got := h.got(); !slices.Equal(got, []string{"R ann der ann", "R ben der ben"}) {
		t.Fatal(got)
	}
	if n := c.Exists(t.Context(), "p:WSFRAME_PRESENT_R").Val(); n != 0 {
		t.Error("somebody is left")
	}
	// Forgotten by Redis, but the room knows him.
	a.n.Presence.Leaving(coming("ben", ""), true)
	h.depart(t, 3, a, b)
	// Who comes while it is looked has not left.
	came(t, a, coming("ann", "4"))
	a.n.Presence.Leaving(coming("ann", ""), true)
	a.flush()
	looked := false
	back := func(ctx context.Context, list []Present) ([]bool, error) {
		looked = true
		came(t, b, coming("ann", "5"))
		return h.look(ctx, list)
	}
	eventually(t, "a look", func() bool { _, err := a.n.Presence.Depart(t.Context(), back, h.tell); return err == nil && looked })
	h.depart(t, 3, a, b)
	if fresh := came(t, a, coming("ann", "6")); fresh[0] {
		t.Error("she was there all the time")
	}
	// Who came back while his leaving is told comes anew.
	a.n.Presence.Leaving(coming("ann", ""), true)
	a.flush()
	var fresh []bool
	eventually(t, "her leaving", func() bool {
		_, err := a.n.Presence.Depart(t.Context(), h.look, func(p Present) { h.tell(p); fresh = came(t, b, coming("ann", "7")) })
		return err == nil && fresh != nil
	})
	if !fresh[0] || c.HGet(t.Context(), "p:WSFRAME_PRESENT_R", "ann").Val() != "+7 der ann" {
		t.Error("not noted", fresh)
	}
}

// Another node finishes the departures of a dead one.
func TestDepartureOfDeadNode(t *testing.T) { bubble(t, testDepartureOfDeadNode) }

func testDepartureOfDeadNode(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a, b := worker(t, c, "a", away), worker(t, s.client(t), "b", away)
	h := &hall{err: errors.New("somebody does not answer")}
	for i := range 100 { // more than are looked at together
		p := coming(fmt.Sprint("u", i), "1")
		came(t, a, p)
		a.n.Presence.Leaving(p, true)
	}
	a.flush()
	eventually(t, "a look", func() bool { _, err := a.n.Presence.Depart(t.Context(), h.look, h.tell); return err != nil })
	a.kill()
	h.err = nil
	h.depart(t, 100, b)
}

// Connections that are cleaned up are departures, after a death and after a drop of the journal.
func TestDeparturesOfLost(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, s *store, a *conns) *conns{
		"worker killed": func(t *testing.T, s *store, a *conns) *conns {
			a.kill()
			return worker(t, s.client(t), "a", away)
		},
		"overflow": func(t *testing.T, s *store, a *conns) *conns {
			s.stop()
			for i, fd := range a.fds() { // some go, others leave
				if a.n.Presence.Leaving(coming(fmt.Sprint("u", i), ""), true); i < 20 {
					a.close(fd)
				} else {
					a.leave(fd, "R")
				}
			}
			a.openMany(60, "S")
			s.restart()
			return a
		},
	} {
		run(t, name, func(t *testing.T) {
			s := newStore(t)
			a := worker(t, s.client(t), "a", away, func(c *Config) { c.Journal = 100 })
			var list []Present
			for i := range 40 {
				p := coming(fmt.Sprint("u", i), "1")
				a.open(p.ID, "R")
				list = append(list, p)
			}
			came(t, a, list...)
			next := lose(t, s, a)
			next.flush()
			h := &hall{}
			eventually(t, "all to be told", func() bool {
				_, _ = next.n.Presence.Depart(t.Context(), h.look, h.tell) // it is looked at again
				return len(h.got()) >= 40
			})
			h.depart(t, 40, next)
		})
	}
}

// A departure just before Redis was emptied is announced; one that was announced before is not
// repeated.
func TestDeparturesOverFlushAll(t *testing.T) { bubble(t, testDeparturesOverFlushAll) }

func testDeparturesOverFlushAll(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	var ahead atomic.Int64
	a := worker(t, c, "a", away, leases, func(c *Config) {
		c.Lease, c.Away = time.Minute, 500*time.Millisecond
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	h := &hall{here: map[string]bool{}}
	leave := func(id string) {
		came(t, a, coming(id, "1"))
		a.n.Presence.Leaving(coming(id, ""), true)
		a.flush()
	}
	emptied := func() {
		c.FlushAll(t.Context())
		eventually(t, "the node to be back", func() bool {
			return c.Exists(t.Context(), a.n.c.keys.mark(a.n.c.self())).Val() == 1 && !a.n.Lease.forgotten.Load()
		})
	}
	later := func() {
		ahead.Add(2 * int64(announceTime))
		now := a.n.c.now()
		eventually(t, "a sign of life", func() bool {
			a.n.Peers.mu.Lock()
			defer a.n.Peers.mu.Unlock()
			return a.n.Peers.intact.After(now)
		})
	}
	leave("ann")
	h.depart(t, 1, a)
	later()
	leave("ben")
	emptied()
	again := func() {
		t.Helper()
		eventually(t, "it to be noted again", func() bool { return c.Exists(t.Context(), a.n.c.keys.leaving()).Val() == 1 })
	}
	again()
	h.depart(t, 2, a)
	if got := h.got(); !slices.Equal(got, []string{"R ann der ann", "R ben der ben"}) {
		t.Fatal(got)
	}
	// Nobody knows whether the room has heard of it when he comes onReachable: it hears that.
	later()
	leave("cid")
	h.here["cid"] = true
	emptied()
	again()
	if fresh := came(t, a, coming("cid", "2")); !fresh[0] {
		t.Error("the room may think that he has left")
	}
	h.depart(t, 2, a)
}

// A live connection's user is written again where Redis has lost him, without an announcement.
func TestPresentHeals(t *testing.T) { bubble(t, testPresentHeals) }

func testPresentHeals(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a := worker(t, c, "a", away, func(c *Config) { c.Assert = 20 * time.Millisecond })
	fd := a.open("ann", "R")
	a.mu.Lock()
	a.m[fd].Present = []Present{{Room: "R", ID: "ann", Nickname: "der ann"}}
	a.mu.Unlock()
	a.flush()
	c.FlushAll(t.Context())
	eventually(t, "her to be there", func() bool { return c.HGet(t.Context(), "p:WSFRAME_PRESENT_R", "ann").Val() == "+ der ann" })
	if fresh := came(t, a, coming("ann", "2")); fresh[0] {
		t.Error("she was there")
	}
}
