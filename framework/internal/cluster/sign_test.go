package cluster

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
)

// The description of a node is visible to the others as long as the node lives.
func TestSigns(t *testing.T) { bubble(t, testSigns) }

func testSigns(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	var said atomic.Int64
	about := func(c *Config) {
		leases(c)
		c.About = func() []byte {
			if v := said.Load(); v >= 0 {
				return fmt.Appendf(nil, "%s %d", c.NodeID, v)
			}
			return nil
		}
	}
	a, b := worker(t, s.client(t), "a", about), worker(t, s.client(t), "b", about)
	d := worker(t, s.client(t), "d", leases)
	seen := func(want ...string) func() bool {
		return func() bool {
			list, err := b.n.Peers.Signs(t.Context())
			if err != nil {
				return false
			}
			var got []string
			for _, s := range list {
				if s.Age < 0 || !s.Living {
					continue
				}
				got = append(got, s.Node+": "+string(s.About))
			}
			return slices.Equal(got, want)
		}
	}
	eventually(t, "all to be seen", seen("a: a 0", "b: b 0", "d: "))
	said.Store(1)
	eventually(t, "what is said next", seen("a: a 1", "b: b 1", "d: "))
	said.Store(-1)
	a.openMany(10, "R")
	a.flush()
	a.kill()
	eventually(t, "the dead one to go", seen("b: b 1", "d: "))
	eventually(t, "the dead one to be cleaned up", func() bool { list, err := b.n.Peers.Signs(t.Context()); return err == nil && len(list) == 2 })
	d.stop()
	eventually(t, "the one that stopped to go", seen("b: b 1"))
	b.stop()
	for _, key := range c.Keys(t.Context(), "*").Val() {
		// Marks of the dead, and the claim of a sweep that a stop has cut short, go by themselves.
		if key != "p:WSFRAME_FD_NEXT" && c.PTTL(t.Context(), key).Val() <= 0 {
			t.Errorf("left: %s", key)
		}
	}
}
