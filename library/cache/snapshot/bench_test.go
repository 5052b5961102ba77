package snapshot

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// mixed writes n keys as the product has them.
func (s *running) mixed(n int) {
	body := strings.Repeat("m", 200)
	p := s.Pipeline()
	for i := range n {
		switch r := i % 20; {
		case r < 8:
			p.Set(ctx, fmt.Sprint("ONCE:", i), body, time.Duration(1+i%600)*time.Minute)
		case r < 14:
			p.HSet(ctx, fmt.Sprint("WEBSOCKET_OFFSET:", i), "epoch", "abcdefghijklm", "offset", i)
			p.Expire(ctx, fmt.Sprint("WEBSOCKET_OFFSET:", i), 31*24*time.Hour)
		case r < 17:
			p.SAdd(ctx, fmt.Sprint("WEBSOCKET_FdCloseSetKey_", i), "a", "b", "ROOM_1", i)
		case r < 18:
			p.RPush(ctx, fmt.Sprint("list", i), "a", "b", "c", body)
		case r < 19:
			p.ZAdd(ctx, fmt.Sprint("z", i), redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2, Member: "b"})
		default:
			for j := range 10 {
				p.XAdd(ctx, &redis.XAddArgs{Stream: fmt.Sprint("WEBSOCKET_HISTORY:", i), ID: fmt.Sprintf("%d-1", j+1), Values: []any{"t", 1, "a", 2, "b", body}})
			}
		}
		if i%1000 == 999 {
			_, _ = p.Exec(ctx)
		}
	}
	_, _ = p.Exec(ctx)
}

// probe asks each millisecond until the test ends what it began, and returns the longest time that
// an answer took.
func (s *running) probe(during func()) (longest time.Duration) {
	c := redis.NewClient(&redis.Options{Addr: s.m.Addr(), Protocol: 2, Password: "secret"})
	defer c.Close()
	c.Ping(ctx)
	run, stop := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		for i := 0; run.Err() == nil; i++ {
			begun := time.Now()
			c.Set(ctx, fmt.Sprint("probe", i%100), "1", time.Hour)
			longest = max(longest, time.Since(begun))
			time.Sleep(time.Millisecond)
		}
	})
	during()
	stop()
	asking.Wait()
	return longest
}

// With 100,000 keys no request waits for a save or an expiry for more than 20 ms: see ms-wait, the
// longest of all, and ms-held, the longest time under the lock. nothing is what the machine itself
// makes a request wait.
func Benchmark100kKeys(b *testing.B) {
	s := open(b, Config{Path: newPath(b)})
	s.mixed(100_000)
	s.save(b)
	for _, bench := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() { time.Sleep(500 * time.Millisecond) }},
		{"whole file", func() {
			if err := s.store.rewrite(frameCommit); err != nil {
				b.Fatal(err)
			}
		}},
		{"save", func() { s.save(b) }},
		{"tick", func() { s.store.tick(time.Millisecond) }},
		{"prune", func() { s.store.prune() }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s.store.longest.Store(0)
			longest := s.probe(func() {
				for b.Loop() {
					bench.do()
				}
			})
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-wait")
			b.ReportMetric(float64(s.store.Longest().Microseconds())/1000, "ms-held")
		})
	}
}

// Barriers that 64 callers ask for at once.
func BenchmarkBarrier(b *testing.B) {
	s := open(b, Config{Path: newPath(b)})
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		c := redis.NewClient(&redis.Options{Addr: s.m.Addr(), Protocol: 2, Password: "secret"})
		defer c.Close()
		for pb.Next() {
			c.Set(ctx, "k", "v", 0)
			if err := c.Do(ctx, "WAITAOF", 1, 0, 0).Err(); err != nil {
				b.Error(err)
			}
		}
	})
}
