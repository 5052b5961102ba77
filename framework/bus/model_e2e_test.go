//go:build e2e && unix

package bus

import (
	"context"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/internal/inbox"
)

// usage is CPU time, of this process and of Redis.
type usage struct{ node, redis time.Duration }

var usedCPU = regexp.MustCompile(`used_cpu_(?:sys|user):([\d.]+)`)

func used(b *testing.B, client redis.UniversalClient) (u usage) {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	u.node = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	info, err := client.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range usedCPU.FindAllStringSubmatch(info, -1) {
		s, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		u.redis += time.Duration(s * float64(time.Second))
	}
	return u
}

// paced calls f b.N times, n a second.
func paced(b *testing.B, n int, f func(i int)) {
	const tick = 5 * time.Millisecond
	t := time.NewTicker(tick)
	defer t.Stop()
	for i := 0; i < b.N; {
		<-t.C
		for range min(n*int(tick)/int(time.Second), b.N-i) {
			f(i)
			i++
		}
	}
}

// report gives the CPU time of each of b.N entries.
func report(b *testing.B, client redis.UniversalClient, begin usage) {
	end := used(b, client)
	b.ReportMetric(float64(end.node-begin.node)/float64(b.N)/1e3, "node-µs/op")
	b.ReportMetric(float64(end.redis-begin.redis)/float64(b.N)/1e3, "redis-µs/op")
}

// BenchmarkModel measures what docs/scaling.md calculates with, with 200 bytes an entry and 2,000 a
// second: one node that writes and reads; how much each further reader adds, from five and one; the
// same as fast as it goes; reading what has piled up; and an answer, written and read.
//
//	go test -tags e2e -run xxx -bench Model -benchtime 20000x ./framework/bus
func BenchmarkModel(b *testing.B) {
	const rate = 2000
	body := make([]byte, 200)
	for _, bc := range []struct {
		name    string
		readers int
	}{{"entry/readers=1", 1}, {"entry/readers=5", 5}} {
		b.Run(bc.name, func(b *testing.B) {
			_, client := real(b)
			own := client()
			var nodes []*node
			for range bc.readers {
				nodes = append(nodes, join(b, client(), quiet, func(c *Config) { c.Receive = func(*Message) {} }))
			}
			begin := used(b, own)
			paced(b, rate, func(i int) { nodes[0].send(strconv.Itoa(i%64), string(body)) })
			for _, n := range nodes {
				eventually(b, "the entries", func() bool { return n.Stats().Received >= int64(b.N) })
			}
			report(b, own, begin)
		})
	}
	for _, bc := range []struct {
		name           string
		readers, rooms int // the rooms that each further reader has, of 64
	}{{"room/readers=1", 1, 0}, {"room/readers=5/rooms=0", 5, 0}, {"room/readers=5/rooms=8", 5, 8}, {"room/readers=5/rooms=64", 5, 64}} {
		b.Run(bc.name, func(b *testing.B) {
			_, client := real(b)
			own := client()
			var nodes []*node
			for i := range bc.readers {
				n := join(b, client(), quiet, interested, func(c *Config) { c.Receive = func(*Message) {} })
				for room := range 64 {
					if i == 0 || room < bc.rooms {
						n.enter(strconv.Itoa(room))
					}
				}
				nodes = append(nodes, n)
			}
			begin := used(b, own)
			paced(b, rate, func(i int) { nodes[0].say(strconv.Itoa(i%64), string(body)) })
			eventually(b, "the entries", func() bool { return nodes[0].Stats().Received >= int64(b.N) })
			settled(b, nodes[0], nodes...)
			report(b, own, begin)
		})
	}
	for _, bc := range []struct {
		name string
		keep int
	}{{"burst", 0}, {"burst/kept", 100}, {"burst/room", 0}} {
		b.Run(bc.name, func(b *testing.B) {
			_, client := real(b)
			own := client()
			room := bc.name == "burst/room"
			n := join(b, client(), quiet, func(c *Config) {
				if c.Receive = func(*Message) {}; room {
					interested(c)
				}
			})
			for i := range 64 {
				if room {
					n.enter(strconv.Itoa(i))
				}
			}
			begin := used(b, own)
			for i := range b.N {
				for n.Send(&Message{Key: strconv.Itoa(i % 64), Room: room, Body: body, Keep: bc.keep, Age: time.Hour}) != nil { // full
					time.Sleep(time.Millisecond)
				}
			}
			eventually(b, "the entries", func() bool { return n.Stats().Received >= int64(b.N) })
			report(b, own, begin)
		})
	}
	b.Run("catchup", func(b *testing.B) {
		_, client := real(b)
		own := client()
		late, err := Start(b.Context(), Config{Client: client(), Prefix: "p:", Receive: func(*Message) {}})
		if err != nil {
			b.Fatal(err)
		}
		n := join(b, client(), quiet, func(c *Config) { c.Receive = func(*Message) {} })
		paced(b, 10*rate, func(i int) { n.send(strconv.Itoa(i%64), string(body)) })
		eventually(b, "the entries", func() bool { return n.Stats().Received >= int64(b.N) })
		begin := used(b, own)
		late.Run()
		eventually(b, "the entries", func() bool { return late.Stats().Received >= int64(b.N) })
		report(b, own, begin)
		_ = late.Stop(b.Context())
	})
	b.Run("answer", func(b *testing.B) {
		_, client := real(b)
		own := client()
		asker, other := box(client()), box(client())
		var got atomic.Int64
		stop := asker.Expect(func([]byte) { got.Add(1) })
		begin := used(b, own)
		paced(b, rate, func(int) {
			if err := other.Send(asker.Name(), body); err != nil {
				b.Fatal(err)
			}
		})
		eventually(b, "the answers", func() bool { return got.Load() >= int64(b.N) })
		report(b, own, begin)
		stop()
		other.Close(context.Background())
		asker.Close(context.Background())
	})
}

func box(client redis.UniversalClient) *inbox.Box {
	return inbox.New(inbox.Config{Client: client, Prefix: "p:", Timeout: patience, Log: zap.NewNop()})
}
