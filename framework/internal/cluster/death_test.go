package cluster

import (
	"context"
	"sync"
	"testing"
	"time"
)

func (w *conns) deposals() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deposed
}

// The survivors of a killed node clean up after it, once for each connection.
func TestDeadNode(t *testing.T) { bubble(t, testDeadNode) }

func testDeadNode(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a, b, d := worker(t, s.client(t), "a", leases), worker(t, s.client(t), "b", leases), worker(t, s.client(t), "d", leases)
	a.openMany(200, "R")
	b.openMany(20, "R")
	d.openMany(20, "S")
	same(t, c, a, b, d)
	dead := a.fds()
	a.kill()
	eventually(t, "the dead node's connections to go", func() bool { return state(t, c) == want(b, d) })
	once(t, dead, b, d)
	eventually(t, "the dead node to leave the list", func() bool {
		ids, err := b.n.Peers.Nodes(t.Context())
		return err == nil && len(ids) == 2
	})
	if b.n.Stats().Swept+d.n.Stats().Swept != 200 {
		t.Errorf("swept %d and %d", b.n.Stats().Swept, d.n.Stats().Swept)
	}
	if b.deposals()+d.deposals() > 0 {
		t.Error("deposed")
	}
	b.closeAll()
	b.stop()
	d.closeAll()
	d.stop()
	left := c.Keys(t.Context(), "*").Val()
	if len(left) != 2 { // the counter, and the mark that a was declared dead
		t.Errorf("left: %v", left)
	}
}

// Several processes can sweep the same connections at the same time, even without the member's
// claim.
func TestRacingSweepers(t *testing.T) { bubble(t, testRacingSweepers) }

func testRacingSweepers(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a := worker(t, c, "a")
	a.openMany(100, "R")
	a.flush()
	dead := a.fds()
	a.kill()
	var sweepers []*conns
	for _, id := range []string{"b", "d", "e"} {
		sweepers = append(sweepers, worker(t, s.client(t), id, func(c *Config) { c.Timeout = patience })) // on a busy machine
	}
	var wait sync.WaitGroup
	for _, w := range sweepers {
		wait.Go(func() {
			for {
				fds, err := w.n.c.members(t.Context(), w.n.c.keys.fds(a.n.c.self()))
				if err != nil {
					t.Error(err)
				}
				if len(fds) == 0 {
					return
				}
				if _, err := w.n.sweeper.sweepSome(t.Context(), a.n.c.self(), fds[:min(len(fds), 16)]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	once(t, dead, sweepers...)
	same(t, c)
}

// After the death of a sweeper, another one continues as soon as the claims have expired.
func TestSweeperDies(t *testing.T) { bubble(t, testSweeperDies) }

func testSweeperDies(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a := worker(t, c, "a")
	a.openMany(50, "R")
	a.flush()
	dead := a.fds()
	a.kill()
	k, m := a.n.c.keys, a.n.c.self()
	const hold = 300 * time.Millisecond
	c.Set(t.Context(), k.sweep(m), "a dead sweeper", hold)
	claimed, told := dead[0], dead[1]
	c.Set(t.Context(), k.claim(m, str(claimed)), "a dead sweeper", hold)
	c.Set(t.Context(), k.claim(m, str(told)), ran, deadTime)
	// The worker of that node starts again.
	b := worker(t, s.client(t), "a")
	eventually(t, "all to go", func() bool { return state(t, c) == "" })
	once(t, append(dead[2:], claimed), b)
	b.open("new", "R")
	same(t, c, b)
}

// A node that was frozen for longer than its lease continues as another incarnation.
func TestFrozenNode(t *testing.T) { bubble(t, testFrozenNode) }

func testFrozenNode(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	g := &gate{}
	a, b := worker(t, s.client(t, g), "a", leases), worker(t, s.client(t), "b", leases)
	a.openMany(50, "R")
	b.openMany(5, "R")
	same(t, c, a, b)
	dead := a.fds()
	if mine, err := a.n.Owners.Owns(t.Context(), dead[0]); !mine || err != nil {
		t.Errorf("does not own what it has: %v, %v", mine, err)
	}
	g.close()
	eventually(t, "the frozen node to be cleaned up after", func() bool { return state(t, c) == want(b) })
	// Its changes before it knows are ignored.
	late := a.open("late", "R")
	if mine, known := a.n.Owners.Owner(dead[0]); mine || known {
		t.Errorf("owns what it cannot know of: %v, %v", mine, known)
	}
	a.leave(dead[1], "R")
	a.join(dead[2], "X")
	g.open()
	if mine, err := a.n.Owners.Owns(t.Context(), dead[0]); mine || err != nil {
		t.Errorf("owns what it has lost: %v, %v", mine, err)
	}
	eventually(t, "it to notice", func() bool { return a.deposals() == 1 && !a.n.Lease.lost.Load() })
	for _, fd := range dead {
		if mine, _ := a.n.Owners.Owns(t.Context(), fd); mine {
			t.Errorf("owns %d", fd)
		}
	}
	if mine, _ := a.n.Owners.Owns(t.Context(), late); !mine {
		t.Error("nobody notifies the listeners of a connection that Redis has never heard of")
	}
	a.closeAll() // as its owner is asked to
	if unheard := a.n.Owners.Unheard(); len(unheard) > 0 {
		t.Errorf("ended, and still %v", unheard)
	}
	fd := a.open("new", "R")
	if mine, err := a.n.Owners.Owns(t.Context(), fd); !mine || err != nil || fd <= late {
		t.Errorf("new connection %d: %v, %v", fd, mine, err)
	}
	same(t, c, a, b)
	once(t, dead, a, b)
	if b.deposals() > 0 {
		t.Error("the survivor is deposed")
	}
}

// An outage of Redis that is longer than a lease makes no node dead.
func TestOutageIsNoDeath(t *testing.T) { bubble(t, testOutageIsNoDeath) }

func testOutageIsNoDeath(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a, b := worker(t, s.client(t), "a", leases), worker(t, s.client(t), "b", leases)
	a.openMany(10, "R")
	b.openMany(10, "R")
	same(t, c, a, b)
	s.stop()
	eventually(t, "the leases to run out", func() bool { return a.n.Stats().Lapsed && b.n.Stats().Lapsed })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if mine, err := a.n.Owners.Owns(ctx, 1); mine || err == nil {
		t.Errorf("sure without Redis: %v, %v", mine, err)
	}
	a.open("meanwhile", "R")
	s.restart()
	eventually(t, "it to be sure", func() bool { // connections from before the outage fail first
		mine, err := a.n.Owners.Owns(t.Context(), 1)
		return mine && err == nil
	})
	eventually(t, "the leases to hold", func() bool { return !a.n.Stats().Lapsed && !b.n.Stats().Lapsed })
	same(t, c, a, b)
	doubted := map[member]time.Time{}
	var dead []member
	eventually(t, "an answer", func() bool {
		var err error
		dead, err = a.n.watch.deadMembers(t.Context(), doubted)
		return err == nil
	})
	if len(dead) > 0 || len(doubted) > 0 {
		t.Errorf("dead %v, doubted %v", dead, doubted)
	}
	if a.deposals()+b.deposals() > 0 || len(a.orphans)+len(b.orphans) > 0 {
		t.Error("somebody was declared dead")
	}
}

// A worker that was killed is started again: in its place its connections are cleaned up at once,
// elsewhere as soon as nobody answers for the node's id. Each is cleaned up once.
func TestWorkerCrash(t *testing.T) {
	long := func(c *Config) { c.Lease, c.Refresh, c.Timeout = time.Minute, 400*time.Millisecond, 2*time.Second }
	for name, change := range map[string]func(*Config){
		"no lease":        func(*Config) {},
		"in its place":    long,
		"elsewhere":       func(c *Config) { long(c); c.Place = "there" },
		"at no one place": func(c *Config) { long(c); c.Place = "" },
	} {
		run(t, name, func(t *testing.T) {
			s := newStore(t)
			c := s.client(t)
			lease := long
			if name == "no lease" {
				lease = change
			}
			a := worker(t, c, "a", lease)
			a.openMany(40, "R")
			a.flush()
			dead := a.fds()
			a.kill()
			b := worker(t, s.client(t), "a", change)
			if name == "in its place" && c.Exists(t.Context(), b.n.c.keys.asked(a.n.c.self())).Val() == 1 {
				t.Error("it has asked a process that it knew to be gone")
			}
			b.openMany(10, "S")
			same(t, c, b)
			once(t, dead, b)
			if b.deposals() > 0 {
				t.Error("deposed")
			}
			b.closeAll()
			b.stop()
			for _, key := range c.Keys(t.Context(), "*").Val() {
				if key != "p:WSFRAME_FD_NEXT" && c.PTTL(t.Context(), key).Val() < 0 {
					t.Errorf("%s stays", key)
				}
			}
		})
	}
}

// The old worker's connections become leftovers when it has ended, unless they were taken over.
func TestReload(t *testing.T) {
	for name, change := range map[string]func(*Config){"lease": leases, "none": func(*Config) {}} {
		for _, crash := range []bool{false, true} {
			run(t, name+map[bool]string{true: ", old worker dies"}[crash], func(t *testing.T) {
				s := newStore(t)
				c := s.client(t)
				old := worker(t, s.client(t), "a", change)
				old.openMany(20, "R")
				old.flush()
				b := worker(t, s.client(t), "a", change, reload)
				b.openMany(10, "S")
				b.n.journal.mu.Lock()
				b.n.journal.overflow = true // for the comparison the old worker's are no ghosts
				b.n.journal.mu.Unlock()
				b.n.journal.poke()
				eventually(t, "both workers' connections", func() bool { b.flush(); return len(c.HKeys(t.Context(), "p:WEBSOCKET_FDINFO").Val()) == 30 })
				// Half of them move.
				moved := old.fds()[:10]
				for _, fd := range moved {
					old.mu.Lock()
					e := *old.m[fd]
					delete(old.m, fd)
					old.mu.Unlock()
					b.mu.Lock()
					b.m[fd] = &e
					b.mu.Unlock()
					b.n.Bookkeeping.Opened(e)
				}
				b.flush()
				rest := old.fds()
				if crash {
					old.kill()
				} else {
					old.closeAll()
					old.stop()
					rest = nil
				}
				b.n.Leftovers.Settle()
				b.n.Leftovers.Settle()
				same(t, c, b)
				once(t, rest, b)
				if b.n.c.leased() {
					eventually(t, "the node to be on the list", func() bool { ids, err := b.n.Peers.Nodes(t.Context()); return err == nil && len(ids) == 1 })
				}
				if old.deposals()+b.deposals() > 0 {
					t.Error("deposed")
				}
				b.closeAll()
				b.stop()
				if left := c.Keys(t.Context(), "*").Val(); len(left) != 1 {
					t.Errorf("left: %v", left)
				}
			})
		}
	}
}
