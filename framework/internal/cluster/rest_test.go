package cluster

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
)

// BenchmarkAtRest_100000 is what comparing 100,000 idle connections with Redis costs this process.
// With the tag e2e Redis is another process, and its cost is not included.
func BenchmarkAtRest_100000(b *testing.B) {
	const n = 100_000
	entry := func(fd int64) Entry {
		auth, _ := json.Marshal(api.Identity{ID: fmt.Sprint("u", fd), Type: "wechatUser", Code: "10000", Nickname: "somebody"})
		return Entry{FD: fd, Auth: auth, UID: fmt.Sprint("u", fd), Keys: []string{fmt.Sprint("ROOM_", fd%100)}, Listeners: []string{"live.user"}}
	}
	var first, end int64
	w := worker(b, newStore(b).client(b), "a", func(c *Config) {
		c.Log, c.Assert, c.Journal = zap.NewNop(), time.Hour, 1<<30
		c.Live = func(yield func(int64) bool) {
			for fd := first; fd < end && yield(fd); fd++ {
			}
		}
		c.State = func(fd int64) (Entry, bool) { return entry(fd), c.Alive(fd) }
		c.Alive = func(fd int64) bool { return fd >= first && fd < end }
	})
	first, _ = w.n.Numbers.NextFD()
	end = first + n
	for fd := first; fd < end; fd++ {
		w.n.Bookkeeping.Opened(entry(fd))
	}
	w.flush()
	heal := func() {
		if err := w.n.writer.comparison.heal(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	heal()
	b.ReportAllocs()
	before := processTime()
	for b.Loop() {
		heal()
	}
	used := (processTime() - before).Seconds() / float64(b.N)
	b.ReportMetric(used*1000, "cpu-ms/op")
	b.ReportMetric(used/20*100, "%core")
}

func processTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
