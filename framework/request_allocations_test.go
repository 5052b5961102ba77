//go:build !race

package framework_test

import "testing"

// A request costs few allocations, in the whole process, the reading and the writing included. What
// else the process does meanwhile counts, too, so the best of some rounds is a request's own. The race
// detector allocates, and drops what is in pools: .ci/test runs this test without it.
func TestRequestAllocations(t *testing.T) {
	for _, e := range exchanges {
		x := newExchange(t, e.text, e.reply)
		best := testing.AllocsPerRun(200, func() { x.once(t) })
		for range 9 {
			best = min(best, testing.AllocsPerRun(200, func() { x.once(t) }))
		}
		if best > e.allocations {
			t.Errorf("%s: %v allocations a request, at most %v", e.name, best, e.allocations)
		}
	}
}
