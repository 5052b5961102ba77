package process

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A pulse counts only time in which the ticks came. A reply, or a gap between them, resets it.
func TestPulse(t *testing.T) {
	c := &child{pid: 42, hangLimit: 30 * time.Second}
	now := time.Unix(1000, 0)
	noticed := 0
	tick := func(d time.Duration) time.Duration {
		now = now.Add(d)
		silent, notice := c.pulse.tick(now)
		if notice {
			noticed++
		}
		return silent
	}
	if tick(0) != 0 || !c.pulse.ask() || c.pulse.ask() {
		t.Fatal("the first question")
	}
	for range 4 {
		tick(time.Second)
	}
	if c.hung() != nil {
		t.Fatal("hangs after 4 s")
	}
	_, hang := c.pulse.state()
	if tick(time.Second); c.hung() == nil || noticed != 1 {
		t.Fatal("does not hang after 5 s")
	}
	<-hang
	if err := c.hung().Error(); !strings.Contains(err, "pid 42") || !strings.Contains(err, "5s") || !strings.Contains(err, "30s") {
		t.Error(err)
	}
	for range 25 {
		tick(time.Second)
	}
	if silent := tick(0); silent != 30*time.Second || noticed != 1 {
		t.Errorf("%v, noticed %d times", silent, noticed)
	}
	if silent := tick(time.Hour); silent != 0 || c.hung() != nil {
		t.Errorf("after the machine stood still: %v", silent)
	}
	for range 5 {
		tick(time.Second)
	}
	if c.hung() == nil || noticed != 2 {
		t.Error("not noticed again")
	}
	if c.pulse.answered(errors.New("not sent")); c.hung() == nil || !c.pulse.ask() {
		t.Error("a question that was not sent counts as an answer")
	}
	if c.pulse.answered(nil); c.hung() != nil || tick(time.Second) != 0 {
		t.Error("an answer does not end it")
	}
}
