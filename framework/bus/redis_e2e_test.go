//go:build e2e && unix

package bus

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/internal/testserver"
	"wsframe/library/cache"
)

func real(t testing.TB) (*testserver.Redis, func(hooks ...redis.Hook) redis.UniversalClient) {
	t.Helper()
	r := testserver.StartRedis(t, "--appendfsync", "everysec")
	return r, func(hooks ...redis.Hook) redis.UniversalClient {
		return open(t, cache.Options{Addrs: []string{r.Addr}, Password: r.Password}, hooks...)
	}
}

func three(t testing.TB) (*testserver.RedisCluster, func(hooks ...redis.Hook) redis.UniversalClient) {
	t.Helper()
	r := testserver.StartRedisCluster(t, "--appendfsync", "everysec")
	return r, func(hooks ...redis.Hook) redis.UniversalClient {
		return open(t, cache.Options{Addrs: r.Addrs(), Password: r.Password}, hooks...)
	}
}

// load has three nodes send to many keys during trouble, and counts what arrives.
func load(t *testing.T, client func(...redis.Hook) redis.UniversalClient, trouble func(sent func() int)) []*node {
	nodes := []*node{join(t, client()), join(t, client()), join(t, client())}
	var total atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	counts := make([]int, len(nodes))
	for i, n := range nodes {
		wg.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for j := 0; ; {
				select {
				case <-tick.C:
				case <-stop:
					counts[i] = j
					return
				}
				for range 2 { // 1,000 rounds/s of 4 messages per node
					for k := range 4 {
						m := &Message{Key: fmt.Sprint("key", k), Body: fmt.Appendf(nil, "%d %d", i, j)}
						if k == 0 {
							m.Keep, m.Age = 100, time.Hour
						}
						if err := n.Send(m); err != nil {
							t.Error(err)
							return
						}
						total.Add(1)
					}
					j++
				}
			}
		})
	}
	sent := func() int { return int(total.Load()) }
	eventually(t, "a load", func() bool { return sent() > 3000 })
	trouble(sent)
	later := sent()
	eventually(t, "a load", func() bool { return sent() > later+3000 })
	close(stop)
	wg.Wait()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("all to come to node %d", i), func() bool { return n.count() >= sent() && n.Stats().Pending == 0 })
	}
	for i, n := range nodes {
		if n.count() != sent() {
			t.Errorf("node %d received %d of %d", i, n.count(), sent())
		}
		next := map[string]int{}
		for _, m := range n.got() {
			var from, number int
			if _, err := fmt.Sscanf(string(m.Body), "%d %d", &from, &number); err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprint(from, m.Key)
			if number != next[key] {
				t.Fatalf("node %d: message %d of sender %d to %s instead of %d", i, number, from, m.Key, next[key])
			}
			next[key]++
		}
		for from, want := range counts {
			for k := range 4 {
				if got := next[fmt.Sprint(from, "key", k)]; got != want {
					t.Errorf("node %d has %d of %d messages of sender %d", i, got, want, from)
				}
			}
		}
		if s := n.Stats(); s.Lost > 0 {
			t.Errorf("node %d: %+v", i, s)
		}
	}
	t.Logf("%d messages, each received by three nodes", sent())
	return nodes
}

func TestKilledRedis(t *testing.T) {
	r, client := real(t)
	load(t, client, func(func() int) {
		r.Kill()
		time.Sleep(time.Second) // the outage
		r.Restart()
	})
}

func TestFrozenRedis(t *testing.T) {
	r, client := real(t)
	sameOrder(t, load(t, client, func(func() int) {
		r.Freeze()
		time.Sleep(3 * time.Second) // the outage
		r.Thaw()
	})...)
}

// Messages that nobody has read yet are written again by their sender.
// Rooms are joined and left at random while Redis is killed, and while it does not answer.
func TestInterestInRedis(t *testing.T) {
	for name, trouble := range map[string]func(r *testserver.Redis){
		"killed": func(r *testserver.Redis) {
			r.Kill()
			time.Sleep(time.Second) // the outage
			r.Restart()
		},
		"frozen": func(r *testserver.Redis) {
			r.Freeze()
			time.Sleep(3 * time.Second)
			r.Thaw()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, client := real(t)
			testInterestAtRandom(t, func(int) redis.UniversalClient { return client() }, 200, 30, func() {
				time.Sleep(2 * time.Second)
				trouble(r)
			})
		})
	}
}

func TestInterestInCluster(t *testing.T) {
	_, client := three(t)
	testInterestAtRandom(t, func(int) redis.UniversalClient { return client() }, 1000, 30, func() {})
}

func TestFlushedRedis(t *testing.T) {
	_, client := real(t)
	c := client()
	load(t, client, func(func() int) {
		if err := c.FlushAll(t.Context()).Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestKilledCluster(t *testing.T) {
	r, client := three(t)
	load(t, client, func(func() int) {
		for _, m := range r.Masters {
			m.Kill()
		}
		time.Sleep(time.Second) // the outage
		for _, m := range r.Masters {
			m.Restart()
		}
	})
}

func TestClusterSpreads(t *testing.T) {
	r, client := three(t)
	sameOrder(t, load(t, client, func(func() int) {})...)
	used := 0
	for _, m := range r.Masters {
		c := redis.NewClient(&redis.Options{Addr: m.Addr, Password: m.Password, DisableIdentity: true})
		if c.DBSize(t.Context()).Val() > 0 {
			used++
		}
		_ = c.Close()
	}
	if used < 2 {
		t.Errorf("%d masters have keys", used)
	}
	testHistory(t, client())
}

func TestStreamBoundsInRedis(t *testing.T) {
	_, client := real(t)
	testStreamBounds(t, func() redis.UniversalClient { return client() })
	testStreamAge(t, client())
}

func TestStreamBoundsInCluster(t *testing.T) {
	_, client := three(t)
	testStreamBounds(t, func() redis.UniversalClient { return client() })
}

func TestHistoryInRedis(t *testing.T) {
	_, client := real(t)
	testHistory(t, client())
}

func TestHandOverInRedis(t *testing.T) {
	_, client := real(t)
	testHandOver(t, func() *node { return join(t, client()) }, func(state []byte) *node { return join(t, client(), from(state)) })
}

func TestHandOverInCluster(t *testing.T) {
	_, client := three(t)
	testHandOver(t, func() *node { return join(t, client()) }, func(state []byte) *node { return join(t, client(), from(state)) })
}

// Replies come late through a proxy: calls time out although Redis executes them.
func TestLateAnswers(t *testing.T) {
	r, client := real(t)
	p := testserver.StartProxy(t, r.Addr)
	slow := open(t, cache.Options{Addrs: []string{p.Addr}, Password: r.Password})
	n, other := join(t, slow, quiet), join(t, client())
	sent := 0
	some := func() {
		for range 500 {
			n.keep("r", fmt.Sprintf("a %d", sent), 100, time.Hour)
			sent++
		}
	}
	some()
	eventually(t, "the first", func() bool { return other.count() == sent })
	all := func() bool { return other.count() >= sent && n.count() >= sent && n.Stats().Pending == 0 }
	for range 3 {
		eventually(t, "Redis to have some that the sender does not know of", func() bool {
			p.Delay(800 * time.Millisecond) // beyond Timeout
			some()
			for begun := time.Now(); time.Since(begun) < 5*time.Second; time.Sleep(time.Millisecond) {
				if other.count() > sent-500 && n.Stats().Pending > 0 {
					return true
				}
			}
			p.Delay(0) // no connection was open, and none can be made so slowly: once more
			eventually(t, "all", all)
			return false
		})
		some()
		p.Delay(0)
		eventually(t, "all", all)
	}
	p.Delay(200 * time.Millisecond)
	some()
	eventually(t, "all", all)
	n.inOrder(sent)
	other.inOrder(sent)
	for i, m := range other.got() {
		if m.Offset != int64(i+1) {
			t.Fatalf("offset %d of message %d", m.Offset, i)
		}
	}
}

// A Redis without memory makes the bus give up messages after some time. With memory all is as
// before.
func TestFullRedis(t *testing.T) {
	_, client := real(t)
	c := client()
	n := join(t, c, quiet)
	n.send("r", "a 0")
	eventually(t, "the first", func() bool { return n.count() == 1 })
	c.ConfigSet(t.Context(), "maxmemory", "1")
	n.send("r", "lost 0")
	eventually(t, "it to be given up", func() bool { return n.Stats().Pending == 0 })
	if s := n.Stats(); s.Lost != 1 || s.Sent != 1 {
		t.Errorf("%+v", s)
	}
	c.ConfigSet(t.Context(), "maxmemory", "0")
	n.send("r", "a 1")
	eventually(t, "the next", func() bool { return n.count() == 2 })
	n.inOrder(2)
}

// Answers come in a Redis Cluster too, where the streams of several askers are on several servers.
func TestAnswersInCluster(t *testing.T) {
	_, client := three(t)
	const askers, answers = 6, 100
	other := box(client())
	defer other.Close(t.Context())
	var got [askers]atomic.Int64
	for i := range askers {
		asker := box(client())
		defer asker.Close(t.Context())
		defer asker.Expect(func([]byte) { got[i].Add(1) })()
		for range answers {
			if err := other.Send(asker.Name(), []byte("answer")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range askers {
		eventually(t, "the answers", func() bool { return got[i].Load() >= answers })
	}
}
