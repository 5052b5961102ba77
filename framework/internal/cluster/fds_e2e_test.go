//go:build e2e && unix

package cluster

import (
	"testing"
)

// A Redis that crashes or fails over has lost the last reservations. Nobody gets the numbers again,
// whoever asks first: not even a node that starts before those who had them have noticed.
func TestNumbersAfterLoss(t *testing.T) { bubble(t, testNumbersAfterLoss) }

func testNumbersAfterLoss(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	a := worker(t, c, "a")
	first := c.Get(t.Context(), a.n.c.keys.counter()).Val()
	b, err := a.n.Numbers.reserve(t.Context(), a.n.Numbers.size)
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.restart()
	c.Set(t.Context(), a.n.c.keys.counter(), first, 0) // as of before the second reservation
	other := worker(t, s.client(t), "b")
	fd, err := other.n.Numbers.NextFD()
	if err != nil || fd < b.end {
		t.Errorf("%d, %v: numbers up to %d are another's", fd, err, b.end-1)
	}
	again, err := a.n.Numbers.reserve(t.Context(), a.n.Numbers.size)
	if err != nil || again.next < fd+other.n.Numbers.size {
		t.Errorf("%+v, %v: these are b's", again, err)
	}
	for _, bad := range []string{"", "x", "-5", "5@"} {
		c.Set(t.Context(), a.n.c.keys.counter(), bad, 0)
		if _, err := a.n.Numbers.reserve(t.Context(), a.n.Numbers.size); (err == nil) != (bad == "5@") {
			t.Errorf("a counter of %q: %v", bad, err)
		}
	}
}
