package backoff

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestNext(t *testing.T) {
	b := Backoff{Min: 10 * time.Millisecond, Max: time.Second}
	for range 2 {
		if b.Failing() {
			t.Fatal("nothing has failed yet")
		}
		for want := 10 * time.Millisecond; want < 4*time.Second; want *= 2 {
			whole := min(want, time.Second)
			if got := b.Next(); got < whole/2 || got > whole {
				t.Errorf("a pause of %v, not between %v and %v", got, whole/2, whole)
			}
			if !b.Failing() {
				t.Fatal("it fails")
			}
		}
		if !b.Reset() || b.Reset() {
			t.Fatal("Reset tells once that something had failed")
		}
	}
}

// Loops that begin to fail at the same moment do not stay in step.
func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		b := Backoff{Min: time.Second, Max: time.Minute}
		seen[b.Next()] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 first pauses have %d lengths", len(seen))
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: time.Hour, Max: time.Hour}
		begun := time.Now()
		if !b.Wait(nil) || time.Since(begun) < time.Hour/2 {
			t.Fatal("it did not wait")
		}
		done := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(done) })
		begun = time.Now()
		if b.Wait(done) || time.Since(begun) != time.Minute {
			t.Fatal("it waited on")
		}
	})
}
