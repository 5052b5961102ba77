package ask

import (
	"sync/atomic"
	"testing"
	"time"
)

// Surveys do not delay the goroutine that receives, and their number is limited.
func TestSurveys(t *testing.T) {
	var s surveys
	var ran atomic.Int64
	hold := make(chan struct{})
	for range 2 * maxSurveys {
		s.do(func() { <-hold; ran.Add(1) })
	}
	close(hold)
	for end := time.Now().Add(30 * time.Second); s.waiting.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d wait", s.waiting.Load())
		}
	}
	if ran.Load() != maxSurveys {
		t.Errorf("%d ran", ran.Load())
	}
}
