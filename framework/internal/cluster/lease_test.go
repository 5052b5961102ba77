package cluster

import (
	"slices"
	"testing"
	"time"
)

func (w *conns) living() []string {
	w.t.Helper()
	ids, err := w.n.Peers.Living(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

// Nodes count as living after Redis was emptied, until they stop.
func TestLiving(t *testing.T) { bubble(t, testLiving) }

func testLiving(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	long := func(c *Config) { c.Lease, c.Refresh = time.Minute, 50*time.Millisecond }
	g := &gate{}
	a, b, d := worker(t, s.client(t), "a", long), worker(t, s.client(t, g), "b", long), worker(t, s.client(t), "d", long)
	want := func(ids ...string) {
		t.Helper()
		if got := a.living(); !slices.Equal(got, ids) {
			t.Fatalf("living: %v, want %v", got, ids)
		}
	}
	want("a", "b", "d")
	d.stop()
	want("a", "b")
	c.Del(t.Context(), a.n.c.keys.lease(b.n.c.self())) // Redis was away for longer than that
	want("a", "b")
	g.close()
	defer g.open()
	c.FlushAll(t.Context())
	want("a", "b")
	eventually(t, "a to have entered again", func() bool {
		return c.SIsMember(t.Context(), a.n.c.keys.nodes(), a.n.c.self().String()).Val() && !a.n.Lease.forgotten.Load()
	})
	want("a", "b")
	a.n.Peers.mu.Lock()
	a.n.Peers.emptied = time.Time{} // long ago
	a.n.Peers.mu.Unlock()
	want("a")
	c.SAdd(t.Context(), a.n.c.keys.nodes(), b.n.c.self().String())
	want("a", "b")
	c.Set(t.Context(), a.n.c.keys.dead(b.n.c.self()), "1", 0)
	want("a")
}
