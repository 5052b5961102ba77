package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestBookkeeping(t *testing.T) { bubble(t, testBookkeeping) }

func testBookkeeping(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	w := worker(t, c, "a")
	a, b := w.open("ann", "R1"), w.open("ben", "R1")
	w.join(a, "R2")
	w.leave(b, "R1")
	same(t, c, w)
	w.n.Bookkeeping.CloseKeyAdded(b, "own")
	w.n.Bookkeeping.CloseKeyAdded(b, "other")
	w.n.Bookkeeping.CloseKeyRemoved(b, "other")
	w.n.Bookkeeping.ListenerAdded(b, "x")
	w.n.Bookkeeping.ListenerRemoved(b, "x")
	c.SAdd(t.Context(), "p:own", b, "7")
	w.mu.Lock()
	w.m[b].Keys = []string{"own"}
	w.mu.Unlock()
	w.flush()
	if keys := c.SMembers(t.Context(), "p:WEBSOCKET_FdCloseSetKey_"+str(b)).Val(); !slices.Equal(keys, []string{"own"}) {
		t.Errorf("close keys %v", keys)
	}
	c.SAdd(t.Context(), "p:R2", 99, "not a number")
	if fds, err := w.n.Rooms.SyncRoom(t.Context(), "R2"); err != nil || len(fds) != 2 {
		t.Errorf("room %v, %v", fds, err)
	}
	if dead, err := w.n.Rooms.Dead(t.Context(), []int64{a, 99, b}); err != nil || !slices.Equal(dead, []int64{99}) {
		t.Errorf("dead %v, %v", dead, err)
	}
	w.n.Rooms.Stale(99, "R2")
	c.SRem(t.Context(), "p:R2", "not a number")
	w.close(b)
	w.flush()
	if left := c.SMembers(t.Context(), "p:own").Val(); !slices.Equal(left, []string{"7"}) {
		t.Errorf("close key has %v", left)
	}
	c.Del(t.Context(), "p:own")
	same(t, c, w)
	// An action that goes on after its connection has ended.
	w.close(a)
	w.n.Bookkeeping.KeyAdded(a, "R3")
	w.n.Bookkeeping.CloseKeyAdded(a, "R3")
	w.n.Bookkeeping.ListenerAdded(a, "x")
	w.flush()
	same(t, c)
	w.stop()
	if keys := c.Keys(t.Context(), "*").Val(); !slices.Equal(keys, []string{"p:WSFRAME_FD_NEXT"}) {
		t.Errorf("left: %v", keys)
	}
}

// removals records the keys from which something is removed, in order.
type removals struct {
	passing
	mu   sync.Mutex
	keys []string
}

func (r *removals) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.mu.Lock()
		for _, c := range cmds {
			if !slices.Contains([]string{"srem", "del", "hdel", "eval"}, c.Name()) {
				continue
			}
			for _, arg := range c.Args() {
				if key, ok := strings.CutPrefix(fmt.Sprint(arg), "p:"); ok {
					r.keys = append(r.keys, key)
				}
			}
		}
		r.mu.Unlock()
		return next(ctx, cmds)
	}
}

// contract §4: a connection leaves its sets first, then its bookkeeping goes; last the list by
// which it would be found after a crash.
func TestOrderOfAnEnd(t *testing.T) { bubble(t, testOrderOfAnEnd) }

func testOrderOfAnEnd(t *testing.T) {
	c, r := newStore(t).client(t), &removals{}
	c.AddHook(r)
	w := worker(t, c, "a")
	fd := w.open("ann", "R1")
	w.join(fd, "R2")
	w.n.Bookkeeping.ListenerAdded(fd, "x")
	w.close(fd)
	w.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	want := fmt.Sprintf("R1 R2 WEBSOCKET_FdCloseSetKey_%d WEBSOCKET_FdController_%d WEBSOCKET_UIDTOFD WEBSOCKET_FDINFO WSFRAME:{a}:FDS", fd, fd)
	if got := strings.Join(r.keys, " "); got != want {
		t.Errorf("removed from %s\nwant         %s", got, want)
	}
}

// A user's second device keeps its entry when the first one's connection ends.
func TestUIDStaysWithNewest(t *testing.T) { bubble(t, testUIDStaysWithNewest) }

func testUIDStaysWithNewest(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	w := worker(t, c, "a")
	first, second := w.open("ann", "R"), w.open("ann", "R")
	w.close(first)
	w.flush()
	if fd := c.HGet(t.Context(), "p:WEBSOCKET_UIDTOFD", "ann").Val(); fd != str(second) {
		t.Errorf("ann is at %q, wanted %d", fd, second)
	}
	w.close(second)
	w.flush()
	if c.HExists(t.Context(), "p:WEBSOCKET_UIDTOFD", "ann").Val() {
		t.Error("ann is still somewhere")
	}
}

func TestNumbers(t *testing.T) { bubble(t, testNumbers) }

func testNumbers(t *testing.T) {
	// Numbers follow the time since 2026, and a bubble begins in 2000.
	time.Sleep(time.Until(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)))
	s := newStore(t)
	c := s.client(t)
	small := func(c *Config) { c.BlockSize, c.Timeout = 10, 200*time.Millisecond }
	a, b := worker(t, c, "a", small), worker(t, c, "b", small)
	seen := map[int64]bool{}
	take := func(w *conns) error {
		fd, err := w.n.Numbers.NextFD()
		if err == nil && (seen[fd] || fd < 1) {
			t.Fatalf("%d given twice", fd)
		}
		seen[fd] = true
		return err
	}
	some := func(count int) {
		t.Helper()
		for i := range count {
			w := []*conns{a, b}[i%2]
			eventually(t, "a number", func() bool { return take(w) == nil })
		}
	}
	some(100)
	time.Sleep(10 * time.Millisecond) // a block that is being reserved is below the time of the loss
	c.FlushAll(t.Context())
	some(100)
	s.stop()
	eventually(t, "the end of the numbers", func() bool { return errors.Is(take(a), ErrNoFD) })
	s.restart()
	some(50)
	c.Set(t.Context(), "p:WSFRAME_FD_NEXT", int64(maxFD-5), 0)
	if _, err := Start(t.Context(), Config{Client: c, Prefix: "p:", NodeID: "c"}); err == nil || !strings.Contains(err.Error(), "2^53") {
		t.Errorf("beyond the end: %v", err)
	}
	s.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Config{Client: c, NodeID: "c"}); err == nil {
		t.Error("started without Redis")
	}
}

func TestRedisAway(t *testing.T) { bubble(t, testRedisAway) }

func testRedisAway(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	w := worker(t, c, "a")
	w.openMany(50, "R")
	gone := w.open("gone", "R")
	w.flush()
	s.stop()
	w.close(gone)
	w.openMany(50, "S")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.n.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flushed into nothing: %v", err)
	}
	if st := w.n.Stats(); st.Pending == 0 || st.Lag == 0 || st.Resyncs != 0 {
		t.Errorf("stats %+v", st)
	}
	s.restart()
	same(t, c, w)
}

// After more changes than the journal holds, Redis is compared with the live connections.
func TestOverflow(t *testing.T) { bubble(t, testOverflow) }

func testOverflow(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	w := worker(t, c, "a", func(c *Config) { c.Journal = 100 })
	w.openMany(60, "R")
	w.flush()
	s.stop()
	for _, fd := range w.fds()[:30] {
		w.close(fd)
	}
	w.openMany(60, "S")
	if n, _ := w.n.Pending(); n > 100 {
		t.Errorf("%d pending", n)
	}
	s.restart()
	same(t, c, w)
	if _, resyncs := w.n.Pending(); resyncs == 0 {
		t.Error("nothing was dropped")
	}
	w.closeAll()
	same(t, c)
}

// An emptied Redis is filled again. The mark of the lease shows it, or without a lease a
// comparison.
func TestFlushAll(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"lease":   leases,
		"compare": func(c *Config) { c.Assert = 50 * time.Millisecond },
	} {
		run(t, name, func(t *testing.T) {
			s := newStore(t)
			c := s.client(t)
			w := worker(t, c, "a", change)
			w.openMany(300, "R")
			w.flush()
			c.FlushAll(t.Context())
			eventually(t, "Redis to be filled again", func() bool { return state(t, c) == want(w) })
			eventually(t, "the counter", func() bool {
				b, err := w.n.Numbers.reserve(t.Context(), w.n.Numbers.size)
				return err == nil && b.next > 300
			})
			if w.closeAll(); w.deposed > 0 {
				t.Error("deposed")
			}
			same(t, c)
		})
	}
}

// Comparisons find surplus and missing connections in Redis.
func TestHeal(t *testing.T) { bubble(t, testHeal) }

func testHeal(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	w := worker(t, c, "a", func(c *Config) { c.Assert = 20 * time.Millisecond })
	w.openMany(40, "R")
	w.flush()
	full := state(t, c)
	c.SAdd(t.Context(), "p:WSFRAME:{a}:FDS", 77777)
	c.HSet(t.Context(), "p:WEBSOCKET_FDINFO", 77777, "{}")
	c.SAdd(t.Context(), "p:WEBSOCKET_FdCloseSetKey_77777", "R")
	c.SAdd(t.Context(), "p:R", 77777)
	lost := str(w.fds()[7])
	c.SRem(t.Context(), "p:WSFRAME:{a}:FDS", lost)
	c.HDel(t.Context(), "p:WEBSOCKET_FDINFO", lost)
	c.Del(t.Context(), "p:WEBSOCKET_FdController_"+str(w.fds()[9])) // a loss within a listed connection: found in its turn
	eventually(t, "ghost and gap to go", func() bool { return state(t, c) == full })
}

// A command that Redis refuses for good does not stop the others.
func TestRefused(t *testing.T) { bubble(t, testRefused) }

func testRefused(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	w := worker(t, c, "a")
	c.Set(t.Context(), "p:R", "the application's own", 0)
	fd := w.open("ann", "R")
	w.leave(fd, "R")
	w.flush()
	c.Del(t.Context(), "p:R")
	same(t, c, w)
}

// After random changes and outages, Redis has the state of the live connections.
func TestRandom(t *testing.T) { bubble(t, testRandom) }

func testRandom(t *testing.T) {
	s := newStore(t)
	c := s.client(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	w := worker(t, c, "a", func(c *Config) { c.Journal, c.Assert = 500, 10*time.Millisecond })
	away := false
	for i := range 4000 {
		fds := w.fds()
		pick := func() int64 { return fds[r.IntN(len(fds))] }
		switch k := r.IntN(100); {
		case k < 25 || len(fds) == 0:
			w.open(fmt.Sprint("u", i), fmt.Sprint("R", r.IntN(5))) // uids of their own: whose entry it is after both close is another test
		case k < 50:
			w.join(pick(), fmt.Sprint("R", r.IntN(5)))
		case k < 70:
			w.leave(pick(), fmt.Sprint("R", r.IntN(5)))
		case k < 95:
			w.close(pick())
		case i%100 == 0 && !away:
			s.stop()
			away = true
		case away:
			s.restart()
			away = false
		case i > 2000 && i < 2050:
			c.FlushAll(t.Context())
		}
	}
	if away {
		s.restart()
	}
	same(t, c, w)
	w.closeAll()
	w.flush()
	same(t, c)
}

// slow is a Redis that executes at most so many commands within a timeout.
type slow struct {
	passing
	max atomic.Int64
}

func (s *slow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if max := s.max.Load(); max > 0 && int64(len(cmds)) > max {
			cmds[0].SetErr(context.DeadlineExceeded)
			return context.DeadlineExceeded
		}
		return next(ctx, cmds)
	}
}

// A slow Redis gets all changes and, when it was emptied, all live connections.
func TestSlowRedis(t *testing.T) { bubble(t, testSlowRedis) }

func testSlowRedis(t *testing.T) {
	s, h := newStore(t), &slow{}
	c := s.client(t, h)
	w := worker(t, c, "a", leases, func(c *Config) { c.Assert = 20 * time.Millisecond })
	w.openMany(200, "R")
	w.flush()
	h.max.Store(40)
	c.FlushAll(t.Context())
	eventually(t, "Redis to be filled again", func() bool { return state(t, c) == want(w) })
	w.openMany(200, "S")
	same(t, c, w)
	w.closeAll()
	same(t, c)
}
