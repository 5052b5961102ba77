package tally

import (
	"fmt"
	"testing"
	"time"

	"wsframe/framework/api"
)

// The first event of each kind is logged at once, the number of further ones once a minute.
func TestTally(t *testing.T) {
	var c Tally
	begin := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		after  time.Duration
		reason string
		since  int64
	}{
		{0, "token", 1}, {1, "token", 0}, {2, "origin", 1}, {59 * time.Second, "token", 0}, {time.Minute, "token", 3}, {time.Minute + 1, "token", 0}, {3 * time.Minute, "origin", 1},
	} {
		if got := c.Note(403, step.reason, begin.Add(step.after)); got != step.since {
			t.Errorf("%s after %v: %d, want %d", step.reason, step.after, got, step.since)
		}
	}
	if got := fmt.Sprint(c.List()); got != "[{403 origin 2} {403 token 5}]" {
		t.Error(got)
	}
	for i := range 1000 { // reasons that an application makes up
		c.Note(4000+i, "x", begin)
	}
	list := c.List()
	if len(list) != maxKinds+1 || list[0] != (api.Counted{Reason: otherReason, N: 1000 - maxKinds + 2}) {
		t.Errorf("%d kinds, the first is %v", len(list), list[0])
	}
}
