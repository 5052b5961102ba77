package lograte

import (
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	var l Limit
	begun := time.Now()
	for _, step := range []struct {
		after time.Duration
		want  int64
	}{{0, 1}, {0, 0}, {time.Second, 0}, {59 * time.Second, 0}, {time.Minute, 4}, {time.Minute, 0}, {2 * time.Minute, 2}, {time.Hour, 1}} {
		if got := l.Due(begun.Add(step.after)); got != step.want {
			t.Errorf("after %v: %d events, want %d", step.after, got, step.want)
		}
	}
}
