package cluster

import (
	"testing"
	"testing/synctest"
	"time"
)

// Owners knows the owner while the lease holds. After a death only connections that Redis has never
// heard of are this node's.
func TestOwnersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(&Config{NodeID: "a", Lease: 10 * time.Second, Now: time.Now})
		l := &Lease{c: c, peers: &Peers{c: c}, silence: c.lease, reachable: make(chan struct{}), onChange: func() {}, onReachable: func() {}}
		n := &Numbers{c: c}
		ow := &Owners{lease: l, numbers: n, journal: newJournal(10, time.Now), life: newLife(), unheard: map[int64]bool{}}
		want := func(fd int64, mine, known bool) {
			t.Helper()
			if m, k := ow.Owner(fd); m != mine || k != known {
				t.Errorf("%d: %v, %v", fd, m, k)
			}
		}
		want(1, false, false) // no lease yet
		now := time.Now()
		l.refreshed.Store(&now)
		want(1, true, true)
		l.setReachable(false)
		want(1, false, false)
		owned := make(chan bool)
		go func() { mine, _ := ow.Owns(t.Context(), 1); owned <- mine }()
		synctest.Wait()
		l.setReachable(true)
		if !<-owned {
			t.Error("it is not told when Redis answers")
		}
		n.renew(block{100, 200}, func() { ow.keep(map[int64]bool{7: true}) })
		want(1, false, true)
		want(7, true, true)
		want(100, true, true)
		ow.ended(7)
		want(7, false, true)
		time.Sleep(c.lease)
		want(100, false, false)
		if !l.Isolated() || l.Accompanied() {
			t.Error("a lapsed lease does not isolate, or nobody is company")
		}
	})
}

// Peers that were heard or listed count as living for a while without a call.
func TestPeersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(&Config{NodeID: "a", Lease: 10 * time.Second, Now: time.Now})
		self, other := member{"a", "1"}, member{"b", "2"}
		c.place.Store(&self)
		ps := &Peers{c: c}
		time.Sleep(time.Minute)
		if _, ok := ps.Recent(time.Second); ok {
			t.Error("known before anything was asked")
		}
		ps.known([]member{self, other}, nil)
		ps.Heard("c")
		ps.Heard("c")
		if ids, ok := ps.Recent(time.Second); !ok || len(ids) != 3 {
			t.Errorf("%v, %v", ids, ok)
		}
		ps.known(nil, nil) // Redis was emptied
		if ids, _ := ps.Recent(time.Second); len(ids) != 3 {
			t.Errorf("an emptied Redis has said that others left: %v", ids)
		}
		time.Sleep(c.lease)
		ps.known([]member{self}, nil)
		if ids, _ := ps.Recent(time.Second); len(ids) != 1 {
			t.Errorf("they had a lease's time to enter again: %v", ids)
		}
	})
}
