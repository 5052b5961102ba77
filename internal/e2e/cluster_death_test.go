//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// One node is killed with 1,000 connections in a room, and another one is frozen for longer than
// its lease at the same moment (promise S3). The two remaining nodes clean up both.
func TestDeadAndFrozenNodes(t *testing.T) {
	onStores(t, func(t *testing.T, s *store) {
		n := startNodes(t, s, 4, nil)
		const frozen, dead = 2, 3
		survivors := append(n.crowd(50, 0, "a", "hall"), n.crowd(50, 1, "b", "hall")...)
		sleepers := n.crowd(100, frozen, "c", "hall")
		victims := n.crowd(1000, dead, "d", "hall")
		x := n.speak("hall", 100, 0, 0, 1)
		until(t, "Redis to know all", func() bool { return len(n.set("hall")) == 1200 })
		watched := map[int64]bool{} // connections on the surviving nodes
		for _, m := range survivors {
			watched[m.fd] = true
		}

		begun := time.Now()
		n.kill(dead)
		n.signal(frozen, syscall.SIGSTOP)
		clean := func() bool { return maps.Equal(n.set("hall"), names(watched)) }
		for !clean() {
			if time.Since(begun) > 40*time.Second { // the promise is 30 s on an idle machine
				t.Fatalf("%d are left in the room", len(n.set("hall")))
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("1,000 dead and 100 frozen connections were cleaned up after in %v", time.Since(begun).Round(10*time.Millisecond))
		if took := time.Since(begun); took > 30*time.Second {
			t.Logf("that is longer than promised")
		}
		until(t, "the room's ends to be told", func() bool { times, _ := n.closeCalls(); return len(times) == 1100 })
		check := func() {
			t.Helper()
			times, by := n.closeCalls()
			shares := map[int]int{}
			for _, m := range slices.Concat(victims, sleepers) {
				if times[m.fd] != 1 {
					t.Errorf("the end of %d was told %d times", m.fd, times[m.fd])
				}
				shares[by[m.fd]]++
			}
			for pid := range shares {
				if pid != n.worker(0) && pid != n.worker(1) {
					t.Errorf("process %d told ends", pid)
				}
			}
			for _, m := range survivors {
				if times[m.fd] != 0 {
					t.Errorf("the end of %d was told, but it lives", m.fd)
				}
			}
			t.Logf("told once each, by %v", shares)
		}
		check()

		// The frozen node resumes, and notices that it was declared dead.
		n.signal(frozen, syscall.SIGCONT)
		begun = time.Now()
		for _, m := range sleepers {
			until(t, "the frozen node to close its connections", func() bool { _, ended := m.closed(); return ended })
			if code, _ := m.closed(); code != 1012 {
				t.Errorf("closed with %d", code)
			}
		}
		t.Logf("the frozen node has closed its connections after %v", time.Since(begun).Round(time.Millisecond))
		// Both nodes accept new connections, with unused numbers.
		n.launch(dead)
		if !n.ready(dead) {
			t.Fatal("its port is taken")
		}
		before := map[int64]bool{}
		for _, m := range slices.Concat(survivors, sleepers, victims) {
			before[m.fd] = true
		}
		late := append(n.crowd(20, frozen, "e", "late"), n.crowd(20, dead, "f", "late")...)
		all := map[int64]bool{}
		for _, m := range late {
			if all[m.fd] = true; before[m.fd] {
				t.Errorf("number %d again", m.fd)
			}
		}
		until(t, "Redis to know the new ones", func() bool { return maps.Equal(n.set("late"), names(all)) })
		y := n.speak("late", 100, 0)
		until(t, "a load", func() bool { return y.sent() > 200 })
		y.stop()
		y.check(late)
		x.stop()
		x.check(survivors)
		check()
		if !clean() {
			t.Errorf("%d are in the room", len(n.set("hall")))
		}
	})
}

func names(fds map[int64]bool) map[string]bool {
	list := map[string]bool{}
	for fd := range fds {
		list[strconv.FormatInt(fd, 10)] = true
	}
	return list
}

// A worker is killed repeatedly (promise S4). Its master starts another one, no new connection is
// refused meanwhile, and each close listener runs once. The same holds for a node that is alone.
func TestKilledWorker(t *testing.T) {
	for name, stores := range map[string]func(t *testing.T) (*store, int){
		"alone": func(*testing.T) (*store, int) { return nil, 1 },
		"two":   func(t *testing.T) (*store, int) { return oneRedis(t), 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, count := stores(t)
			n := startNodes(t, s, count, nil)
			for round := range 2 {
				victims := n.crowd(100, 0, fmt.Sprint("v", round, "-"), "hall")
				until(t, "the store to know all", func() bool { return n.list[0].status().StorePending == 0 })
				if err := syscall.Kill(n.worker(0), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				late := n.member(0, "late", "hall")
				until(t, "the ends to be told", func() bool { times, _ := n.closeCalls(); return len(times) >= (round+1)*len(victims)+round })
				times, _ := n.closeCalls()
				for _, m := range victims {
					if times[m.fd] != 1 {
						t.Errorf("the end of %d was told %d times", m.fd, times[m.fd])
					}
				}
				if times[late.fd] != 0 {
					t.Error("the end of one that lives was told")
				}
				var left []int64
				if late.must(t, "hall.members", map[string]any{"room": "hall", "limit": 1000}, &left); !slices.Equal(left, []int64{late.fd}) {
					t.Errorf("members %v", left)
				}
				_ = late.nc.Close()
				until(t, "it to end", func() bool { times, _ := n.closeCalls(); return times[late.fd] == 1 })
			}
		})
	}
}
