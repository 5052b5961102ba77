//go:build e2e && unix

package bus

import (
	"testing"
	"time"
)

// BenchmarkShard measures one shard: from Send to Receive on one node, with one key.
func BenchmarkShard(b *testing.B) {
	for _, bc := range []struct {
		name string
		keep int
		body int
	}{{"plain/200B", 0, 200}, {"kept/200B", 100, 200}, {"plain/4KiB", 0, 4096}} {
		b.Run(bc.name, func(b *testing.B) {
			_, client := real(b)
			n := join(b, client(), quiet, func(c *Config) { c.Receive = func(*Message) {} })
			m := &Message{Key: "r", Body: make([]byte, bc.body), Keep: bc.keep, Age: time.Hour}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for n.Send(m) != nil { // full
					time.Sleep(time.Millisecond)
				}
			}
			for n.Stats().Received < int64(b.N) {
				time.Sleep(100 * time.Microsecond)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
