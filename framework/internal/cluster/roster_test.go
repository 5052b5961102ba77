package cluster

import (
	"maps"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Every connection has its turn: after 16 turns if they are few, after as many turns as there are
// buckets if they are many.
func TestRosterTurns(t *testing.T) {
	for _, tc := range []struct{ n, turns int }{{0, parts}, {1, parts}, {1000, parts}, {5000, parts}, {share * buckets, buckets}} {
		var r roster
		want := map[int64]bool{}
		for fd := range int64(tc.n) {
			r.add(fd)
			r.add(fd)
			want[fd] = true
		}
		r.add(1 << 50)
		r.remove(1 << 50)
		r.remove(1 << 51)
		if r.length != tc.n {
			t.Errorf("%d connections, its length is %d", tc.n, r.length)
		}
		for range tc.turns {
			fds := r.turn()
			if most := max(share, tc.n/parts+tc.n/buckets+buckets) + tc.n/buckets; len(fds) > most {
				t.Errorf("%d connections: a turn has %d", tc.n, len(fds))
			}
			for _, fd := range fds {
				delete(want, fd)
			}
		}
		if len(want) > 0 {
			t.Errorf("%d connections: %d have had no turn, such as %v", tc.n, len(want), slices.Collect(maps.Keys(want))[0])
		}
	}
}

// A heal without losses reads the state of few connections only. A connection that is missing on the
// node's list is written again by the next heal, the other keys of one when it has its turn.
func TestHealAtRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 1000
		s := newStore(t)
		c := s.client(t)
		states := 0
		w := &conns{t: t, m: map[int64]*Entry{}}
		var fds []int64
		for fd := int64(1); fd <= n; fd++ {
			w.m[fd] = &Entry{FD: fd, Auth: []byte(`{"id":"u"}`), Keys: []string{"R"}, Listeners: []string{"live.user"}}
			fds = append(fds, fd)
		}
		node, err := Start(t.Context(), Config{
			Client: c, Prefix: "p:", NodeID: "a", Place: "here", Log: zap.NewNop(), Live: w.live, Alive: w.alive,
			State: func(fd int64) (Entry, bool) { states++; return w.state(fd) },
		})
		if err != nil {
			t.Fatal(err)
		}
		co := node.writer.comparison // nobody else uses it: the node does not run
		co.numbers.floor.Store(0)
		healed := func() (read int) {
			t.Helper()
			before := states
			if err := co.heal(t.Context()); err != nil {
				t.Fatal(err)
			}
			return states - before
		}
		healed() // writes them
		healed()
		if read := healed(); read == 0 || read > 2*n/parts {
			t.Errorf("a heal has read %d states", read)
		}
		lost, list := str(fds[7]), co.c.keys.fds(co.c.self())
		exec := func(f func(p redis.Pipeliner)) {
			t.Helper()
			if _, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error { f(p); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		exec(func(p redis.Pipeliner) { p.SRem(t.Context(), list, lost); p.SRem(t.Context(), "p:R", lost) })
		healed()
		for _, key := range []string{list, "p:R"} {
			if there, err := c.SIsMember(t.Context(), key, lost).Result(); !there || err != nil {
				t.Errorf("%s does not have the lost connection again: %v", key, err)
			}
		}
		exec(func(p redis.Pipeliner) { p.Del(t.Context(), "p:R") })
		for range parts {
			healed()
		}
		if there, err := c.SCard(t.Context(), "p:R").Result(); there != n || err != nil {
			t.Errorf("the set of the room has %d members again, %v", there, err)
		}
		exec(func(p redis.Pipeliner) { p.FlushDB(t.Context()) })
		healed()
		if there, err := c.SCard(t.Context(), list).Result(); there != n || err != nil {
			t.Errorf("the list has %d members again, %v", there, err)
		}
	})
}
