package cluster

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// counting counts commands and pipelines.
type counting struct {
	passing
	commands, pipelines atomic.Int64
}

func (h *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.commands.Add(int64(len(cmds)))
		h.pipelines.Add(1)
		return next(ctx, cmds)
	}
}

// BenchmarkOpenedClosed_1room is a connection's whole bookkeeping: opened, a listener, a room,
// closed; "noted" is what the connection's own goroutine pays, "written" with the pipelines to
// Redis (with miniredis its work too).
func BenchmarkOpenedClosed_1room(b *testing.B) {
	for _, user := range []string{"", "ann"} {
		name := map[string]string{"": "wall", "ann": "wechatUser"}[user]
		entry := Entry{Auth: []byte(`{"id":"ann","type":"wechatUser","code":"10000","nickname":"Ann","ctime":1700000000}`), UID: user}
		one := func(n *Node, fd int64) {
			e := entry
			e.FD = fd
			n.Bookkeeping.Opened(e)
			n.Bookkeeping.ListenerAdded(fd, "live.user")
			n.Bookkeeping.KeyAdded(fd, "LIVE_USER_ROOM_10000")
			e.Keys, e.Listeners = []string{"LIVE_USER_ROOM_10000"}, []string{"live.user"}
			n.Owners.Closed(e)
		}
		b.Run(name+"/noted", func(b *testing.B) {
			n := assemble(&Config{NodeID: "a", Journal: 1 << 30, Now: zeroTime})
			n.Leftovers.settled.Store(true)
			b.ReportAllocs()
			for i := range b.N {
				one(n, int64(i+1))
				if i%50 == 0 { // the writer's part, without Redis
					for ops, dropped := n.journal.next(pipeline); len(ops) > 0; ops, dropped = n.journal.next(pipeline) {
						n.journal.done(len(ops), dropped)
					}
				}
			}
		})
		b.Run(name+"/written", func(b *testing.B) {
			h := &counting{}
			w := worker(b, newStore(b).client(b, h), "a", func(c *Config) { c.Log, c.Live, c.Alive, c.State, c.Journal = zap.NewNop(), nil, nil, nil, 1<<30 })
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				one(w.n, int64(i+1))
				if i%1000 == 999 {
					w.flush()
				}
			}
			w.flush()
			b.ReportMetric(float64(h.commands.Load())/float64(b.N), "commands/op")
			b.ReportMetric(float64(h.pipelines.Load())/float64(b.N), "pipelines/op")
		})
	}
}

func BenchmarkNextFD(b *testing.B) {
	n := &Numbers{size: 4096, fds: block{1, 1 << 60}, spare: block{1 << 60, 1<<60 + 1}}
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := n.NextFD(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func zeroTime() (t time.Time) { return }
