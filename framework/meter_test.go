package framework_test

import (
	"testing"

	"wsframe/framework"
)

// What is asked of an action is counted, in whatever spelling; a refusal is no failure, an error and a panic are.
func TestActionStats(t *testing.T) {
	h := start(t, &probe{})
	c := h.Dial(someone)
	for _, frame := range []string{
		`{"method":"probe.typed","n":7}`, `{"method":"Probe.Typed","n":11}`, `{"method":"index.probe.typed","n":1}`,
		`{"method":"probe.panics"}`, `{"method":"probe.fails"}`, `{"method":"probe.other"}`, `{"method":"nobody.home"}`,
	} {
		c.Send(frame)
		c.Receive()
	}
	got := map[string]framework.ActionStats{}
	for _, s := range h.App.ActionStats() {
		got[s.Method] = s
	}
	for method, want := range map[string][2]int64{
		"index.probe.typed": {3, 0}, "index.probe.panics": {1, 1}, "index.probe.fails": {1, 1}, "index.probe": {1, 0}, "index.plain.index": {0, 0},
	} {
		s, ok := got[method]
		var n int64
		for _, count := range s.Counts {
			n += count
		}
		if !ok || n != want[0] || s.Failed != want[1] || (n > 0) != (s.Duration > 0) {
			t.Errorf("%s: %+v", method, s)
		}
	}
}
