package hub

import (
	"fmt"
	"io"
	"testing"

	"wsframe/framework/internal/wire"
)

// BenchmarkFanOut measures one publish to a room, until the sockets of all members have it. Up to
// 32 members are written to by the publisher's own goroutine.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 32, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := serve(b, Config{RoomFlush: -1, OutboxBytes: 64 << 20, OutboxMessages: 1 << 20})
			for range n {
				c := s.dial()
				go func() { _, _ = io.Copy(io.Discard, c.nc) }() // until the test's end closes it
			}
			s.waitFor("all", func() bool { return s.Len() == n })
			s.Each(func(c *Conn) bool { _, err := c.Join("room"); return err == nil })
			f := wire.TextFrame([]byte(`{"event":"Message","code":200,"info":"","data":"hello, all of you"}`))
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				s.Publish("room", f)
				s.SettleRooms()
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/member")
		})
	}
}
