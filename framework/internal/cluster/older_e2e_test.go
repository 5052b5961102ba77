//go:build e2e && unix

package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/internal/testserver"
)

// Redis comes back with older data, and the node stops before it has compared all. Whoever is there
// or starts next removes what has come back.
func TestStopAfterOlderData(t *testing.T) {
	for _, when := range []string{"before the node", "with connections", "when half had ended"} {
		for _, next := range []string{"the same again", "another", "one beside it"} {
			t.Run(when+", "+next, func(t *testing.T) {
				r := testserver.StartRedis(t, "--appendonly", "no")
				s := &store{addr: r.Addr, password: r.Password, stop: r.Kill, restart: r.Restart}
				c := s.client(t)
				quiet := func(c *Config) { c.Orphan = nil } // of some it was told before
				var there *conns
				if next == "one beside it" {
					there = worker(t, s.client(t), "b", leases, away, quiet)
				}
				save := func(at string) {
					if at == when {
						if err := c.Save(t.Context()).Err(); err != nil {
							t.Fatal(err)
						}
					}
				}
				save("before the node")
				a := worker(t, s.client(t), "a", leases, away, quiet)
				a.openMany(40, "R")
				a.flush()
				save("with connections")
				for _, fd := range a.fds()[:20] {
					a.close(fd)
				}
				a.flush()
				save("when half had ended")
				a.openMany(20, "S")
				for _, fd := range a.fds()[:10] {
					a.close(fd)
				}
				a.flush()
				s.stop()
				s.restart()
				a.closeAll()
				a.stop()
				switch next {
				case "the same again":
					there = worker(t, s.client(t), "a", leases, away, quiet)
				case "another":
					there = worker(t, s.client(t), "d", leases, away, quiet)
				}
				eventually(t, "all to go", func() bool { return state(t, c) == "" })
				eventually(t, "the sweep to end", func() bool {
					ids, err := there.n.Peers.Nodes(t.Context())
					return err == nil && len(ids) == 1
				})
				there.stop()
				for _, key := range c.Keys(t.Context(), "*").Val() {
					if ttl := c.PTTL(t.Context(), key).Val(); ttl < 0 && key != there.n.c.keys.counter() {
						t.Errorf("%s stays", key)
					}
				}
			})
		}
	}
}

// Of a Redis Cluster some masters come back with older data, others lose nothing: what has come
// back is on no node's list.
func TestUnlistedAfterOlderData(t *testing.T) {
	for _, next := range []string{"the same again", "another", "one beside it", "the same"} {
		t.Run(next, func(t *testing.T) {
			s := newStore(t)
			c := s.client(t)
			g := &gate{}
			client := func(t *testing.T) redis.UniversalClient {
				c := s.cluster(t)
				c.AddHook(g)
				return c
			}
			soon := func(c *Config) { leases(c); c.Assert = 50 * time.Millisecond }
			var beside *conns
			if next == "one beside it" {
				beside = worker(t, client(t), "b", soon)
			}
			a := worker(t, client(t), "a", soon)
			a.openMany(20, "R")
			a.flush()
			back := older(t, c)
			gone := a.fds()[:10]
			for _, fd := range gone {
				a.close(fd)
			}
			a.flush()
			s.stop()
			watching := []*conns{a}
			if beside != nil {
				watching = append(watching, beside)
			}
			for _, w := range watching {
				eventually(t, "the outage to be noticed", func() bool { return w.n.Stats().Unreachable })
			}
			g.close() // they see it as it is in the end
			s.restart()
			eventually(t, "Redis to answer", func() bool { return c.Ping(t.Context()).Err() == nil })
			back()
			g.open()
			if next != "the same" {
				a.closeAll()
				a.stop()
			}
			switch next {
			case "the same again":
				a = worker(t, client(t), "a", soon)
			case "another":
				a = worker(t, client(t), "d", soon)
			case "one beside it":
				a = beside
			}
			a.open("late", "R")
			same(t, c, a)
		})
	}
}

// older notes what all keys but nodes' own hold, and gives a function that puts it back.
func older(t *testing.T, c redis.UniversalClient) func() {
	dumps := map[string]string{}
	for _, key := range c.Keys(t.Context(), "*").Val() {
		if !strings.Contains(key, "WSFRAME") {
			dumps[key] = c.Dump(t.Context(), key).Val()
		}
	}
	return func() {
		for key, dump := range dumps {
			if err := c.RestoreReplace(t.Context(), key, 0, dump).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
