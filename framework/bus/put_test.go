package bus

import (
	"testing"
	"time"
)

// A message that is withdrawn while it leaves the queue releases exactly its bytes.
func TestWithdrawnBytes(t *testing.T) {
	for range 100 {
		b := newBus(&Config{Shards: 1})
		s := b.shards[0]
		m := &Message{Key: "r", Body: make([]byte, 1000), Keep: 1, Age: time.Hour}
		b.budget.add(int64(m.size()))
		it := s.push(m, 0, make(chan error, 1))
		withdrawn := make(chan error)
		go func() { withdrawn <- s.withdraw(it) }()
		s.pop([]*item{it})
		if err := <-withdrawn; err != nil && err != ErrNotTaken {
			t.Fatal(err)
		}
		if n, bytes := b.budget.messages.Load(), b.budget.bytes.Load(); n != 0 || bytes != 0 {
			t.Fatalf("%d messages of %d bytes are said to wait", n, bytes)
		}
	}
}
