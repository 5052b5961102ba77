package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestOneOrder(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	nodes := []*node{join(t, c()), join(t, c()), join(t, c())}
	const each = 200
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			for j := range each {
				for _, key := range []string{"a", "b", "c", "房间"} {
					if j%2 == 0 {
						n.send(key, fmt.Sprintf("%d %d", i, j))
					} else {
						n.keep(key, fmt.Sprintf("%d %d", i, j), 10, time.Hour)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, n := range nodes {
		eventually(t, "all to come", func() bool { return n.count() >= 3*4*each })
		n.inOrder(each)
	}
	sameOrder(t, nodes...)
	if s := nodes[0].Stats(); s.Sent != 4*each || s.Received != 12*each || s.Lost != 0 || s.Pending != 0 || s.Shards != 4 {
		t.Errorf("%+v", s)
	}
	for _, m := range nodes[1].got() {
		if m.From != nodes[0].Token() && m.From != nodes[1].Token() && m.From != nodes[2].Token() || m.kept() || m.Kind != 7 && m.Kind != 8 ||
			(m.Kind == 8) != (m.Offset > 0 && m.Epoch != "" && time.Since(m.At) < time.Minute) {
			t.Fatalf("%+v", m)
		}
	}
}

func TestBytes(t *testing.T) {
	for name, change := range map[string]func(*Config){"nodes": quiet, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			n := join(t, embedded(t)(), change)
			body := make([]byte, 256)
			for i := range body {
				body[i] = byte(i)
			}
			key := "k \x00\xff\r\n{}"
			for _, m := range []Message{{Key: key, Body: body, Kind: 255, Keep: 1, Age: time.Minute}, {Key: key}} {
				if err := n.Send(&m); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "both to come", func() bool { return n.count() == 2 })
			if m := n.got()[0]; m.Key != key || !bytes.Equal(m.Body, body) || m.Kind != 255 || m.Offset != 1 {
				t.Errorf("%+v", m)
			}
			if m := n.got()[1]; m.Key != key || len(m.Body) != 0 || m.Offset != 0 {
				t.Errorf("%+v", m)
			}
			p, err := n.History(t.Context(), key, 0, 10)
			if err != nil || len(p.Items) != 1 || !bytes.Equal(p.Items[0].Body, body) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestAlone(t *testing.T) {
	c := embedded(t)
	client := c()
	n := join(t, client, alone)
	const count = 2000
	for i := range count {
		if i%3 == 0 {
			n.keep("r", fmt.Sprintf("a %d", i), 5, time.Hour)
		} else {
			n.send("r", fmt.Sprintf("a %d", i))
		}
	}
	eventually(t, "all to come", func() bool { return n.count() == count })
	n.inOrder(count)
	var offset int64
	for _, m := range n.got() {
		if m.Kind == 8 {
			if offset++; m.Offset != offset || m.Epoch == "" || m.At.IsZero() {
				t.Fatalf("%+v instead of %d", m, offset)
			}
		}
	}
	for i := range 4 {
		if client.Exists(t.Context(), n.shards[i].entries()).Val() != 0 {
			t.Error("there is a stream")
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	testHistory(t, c())
}

func testHistory(t *testing.T, client redis.UniversalClient) {
	n := join(t, client)
	page := func(room string, after int64, limit int) (p Page) {
		t.Helper()
		eventually(t, "a page", func() bool { // a call may time out on a busy machine
			var err error
			p, err = n.History(t.Context(), room, after, limit)
			return err == nil
		})
		return p
	}
	if p := page("r", 0, 10); p.Epoch[0] != '~' || p.Offset != 0 || p.First != 0 || len(p.Items) != 0 {
		t.Errorf("%+v", p)
	}
	const count, keep = 700, 450
	for i := range count {
		n.keep("r", fmt.Sprintf("a %d", i), keep, time.Hour)
	}
	eventually(t, "all to come", func() bool { return n.count() == count })
	for _, tc := range []struct {
		after       int64
		limit       int
		first, last int64
	}{
		{0, 1000, 251, 700}, {0, 10, 251, 260}, {0, 250, 251, 500}, {300, 1, 301, 301}, {699, 5, 700, 700}, {700, 5, 0, 0},
		{9999, 5, 0, 0}, {1<<63 - 1, 5, 0, 0}, {-5, 1, 251, 251}, {0, 0, 0, 0}, {0, -1, 0, 0},
	} {
		p := page("r", tc.after, tc.limit)
		if p.Offset != count || p.First != count-keep+1 || p.Epoch != n.got()[0].Epoch {
			t.Errorf("%+v: %d, %d, %s", tc, p.Offset, p.First, p.Epoch)
		}
		want := 0
		if tc.first > 0 {
			want = int(tc.last - tc.first + 1)
		}
		if len(p.Items) != want {
			t.Errorf("%+v: %d items", tc, len(p.Items))
			continue
		}
		for i, it := range p.Items {
			if it.Offset != tc.first+int64(i) || string(it.Body) != fmt.Sprintf("a %d", it.Offset-1) || time.Since(it.At).Abs() > time.Minute {
				t.Errorf("%+v: %+v at %d", tc, it, i)
			}
		}
	}
	if p := page("other", 0, 10); p.Offset != 0 {
		t.Errorf("%+v", p)
	}
	// A shorter age, then a longer one: expired messages are left out, and in the end all are.
	for i := range 20 {
		n.keep("short", fmt.Sprintf("b %d", i), 100, 300*time.Millisecond)
	}
	eventually(t, "them to come", func() bool { return n.count() == count+20 })
	n.keep("short", "b 20", 100, time.Hour)
	n.keep("short", "b 21", 100, time.Hour)
	eventually(t, "the old ones to be left out", func() bool {
		p := page("short", 0, 100)
		return p.First == 21 && len(p.Items) == 2 && p.Offset == 22
	})
	n.keep("gone", "c 0", 100, 100*time.Millisecond)
	eventually(t, "it to come", func() bool { return n.count() == count+23 })
	eventually(t, "it to go", func() bool {
		p := page("gone", 0, 100)
		return p.First == 0 && len(p.Items) == 0 && p.Offset == 1 && p.Epoch != ""
	})
	n.keep("gone", "c 1", 100, time.Hour)
	eventually(t, "the next", func() bool { p := page("gone", 0, 9); return p.First == 2 && p.Offset == 2 && len(p.Items) == 1 })
}

// One reply in three is lost. No message is doubled, lost or reordered, and a bus that is alone
// still learns the offsets.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){"nodes": quiet, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			c := embedded(t)
			h := &lossy{}
			n := join(t, c(h), change)
			h.mu.Lock()
			h.lose = func(cmd redis.Cmder) bool { return strings.HasPrefix(cmd.Name(), "eval") && rand.N(3) == 0 }
			h.mu.Unlock()
			const count = 1500
			for i := range count {
				n.keep("r", fmt.Sprintf("a %d", i), 10, time.Hour)
				if i%100 == 0 {
					eventually(t, "some to be written", func() bool { return n.Stats().Pending < 20 })
				}
			}
			eventually(t, "all to come", func() bool { return n.count() >= count && n.Stats().Pending == 0 })
			n.inOrder(count)
			for i, m := range n.got() {
				if m.Offset != int64(i+1) {
					t.Fatalf("offset %d of %d", m.Offset, i+1)
				}
			}
		})
	}
}

func TestFull(t *testing.T) {
	c := embedded(t)
	h := &lossy{}
	n := join(t, c(h), alone, func(c *Config) { c.PendingMessages = 10 })
	h.gate.Lock()
	var sent int
	var err error
	for ; sent < 100 && err == nil; sent++ {
		err = n.Send(&Message{Key: "r", Body: []byte(fmt.Sprintf("a %d", sent)), Keep: 1, Age: time.Hour})
	}
	if !errors.Is(err, ErrFull) || sent != 11 {
		t.Errorf("%d sent, %v", sent, err)
	}
	h.gate.Unlock()
	eventually(t, "room for more", func() bool { return n.Send(&Message{Key: "r", Body: []byte("a 10")}) == nil })
	eventually(t, "all to come", func() bool { return n.count() == 11 })
	n.inOrder(11)
	if err := n.Send(&Message{Body: make([]byte, maxBody+1)}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	big := join(t, c(h), alone, func(c *Config) { c.PendingBytes = 1 << 20 })
	if err := big.Send(&Message{Body: make([]byte, 2<<20)}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if s := big.Stats(); s.Pending != 0 || big.budget.bytes.Load() != 0 {
		t.Errorf("%+v", s)
	}
	if err := big.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := big.Send(&Message{}); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}

// A message that Redis refuses for good is counted, and does not stop the others of its shard.
func TestRefused(t *testing.T) {
	c := embedded(t)
	client := c()
	n := join(t, client, quiet)
	s := n.shard("bad")
	if err := client.Set(t.Context(), s.offset("bad"), "no hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	good := 0
	for i := 0; good < 10; i++ {
		key := fmt.Sprint("k", i)
		if n.shard(key) != s {
			continue
		}
		n.keep("bad", "x 0", 10, time.Hour)
		n.keep(key, fmt.Sprintf("a %d", 0), 10, time.Hour)
		good++
	}
	eventually(t, "the good ones", func() bool { return n.count() == 10 && n.Stats().Pending == 0 })
	if st := n.Stats(); st.Sent != 10 || st.Lost < 10 {
		t.Errorf("%+v", st)
	}
	// The sender's own record is unusable.
	if err := client.Set(t.Context(), s.written(n.Token()), "no hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	n.send("bad", "x 0")
	eventually(t, "it to be given up", func() bool { return n.Stats().Pending == 0 })
}

// A foreign entry, or one that makes the receiver panic, ends no reader.
func TestMalformed(t *testing.T) {
	c := embedded(t)
	client := c()
	var n *node
	n = join(t, client, quiet, func(cfg *Config) {
		cfg.Receive = func(m *Message) {
			if string(m.Body) == "panic" {
				panic("so it is")
			}
			n.receive(m)
		}
	})
	for _, values := range [][]any{{"x", "y"}, {"h", ""}, {"h", "a b c"}, {"h", "a 1 999"}, {"h", "a 1 1 x y z", "k", "r"}, {"h", "t 5 1"}} {
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: n.shard("r").entries(), Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	n.send("r", "panic")
	n.send("r", "a 0")
	eventually(t, "the last", func() bool { return n.count() == 2 })
	if m := n.got(); m[0].From != "t" || string(m[1].Body) != "a 0" {
		t.Errorf("%+v", m)
	}
}

func TestFlush(t *testing.T) {
	c := embedded(t)
	client := c()
	a, b := join(t, client), join(t, c())
	for i := range 100 {
		a.keep("r", fmt.Sprintf("a %d", i), 10, time.Hour)
	}
	eventually(t, "all to come", func() bool { return a.count() == 100 && b.count() == 100 })
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		a.keep("r", fmt.Sprintf("a %d", 100+i), 10, time.Hour)
	}
	eventually(t, "all to come", func() bool { return a.count() >= 200 && b.count() >= 200 })
	a.inOrder(200)
	b.inOrder(200)
	got := b.got()
	if got[0].Epoch == got[199].Epoch || got[199].Epoch == "" {
		t.Errorf("epochs %q and %q", got[0].Epoch, got[199].Epoch)
	}
	p, err := b.History(t.Context(), "r", 0, 100)
	if err != nil || p.Epoch != got[199].Epoch || p.Offset != got[199].Offset {
		t.Errorf("%+v, %v, the last message is %+v", p, err, got[199])
	}
}

// A Redis that returns with older data gets the lost messages again, and receivers ignore them.
func TestOlderData(t *testing.T) {
	c := embedded(t)
	client := c()
	a, b := join(t, client, quiet), join(t, c(), quiet)
	s := a.shard("r")
	for i := range 50 {
		a.keep("r", fmt.Sprintf("a %d", i), 100, time.Hour)
	}
	eventually(t, "all to come", func() bool { return a.count() == 50 && b.count() == 50 })
	epoch := a.got()[0].Epoch
	// The last 20 are lost.
	ids := client.XRevRangeN(t.Context(), s.entries(), "+", "-", 20).Val()
	for i, e := range ids {
		client.XDel(t.Context(), s.entries(), e.ID)
		client.XDel(t.Context(), s.history("r"), fmt.Sprintf("%d-1", 50-i))
	}
	client.HSet(t.Context(), s.written(a.Token()), "n", 30)
	client.HSet(t.Context(), s.offset("r"), "offset", 30)
	client.HSet(t.Context(), s.record(), "n", 30)
	late := join(t, c(), quiet)
	a.keep("r", "a 50", 100, time.Hour)
	eventually(t, "the next to come", func() bool { return a.count() >= 51 && b.count() >= 51 && late.count() >= 21 })
	a.inOrder(51)
	b.inOrder(51)
	p, err := b.History(t.Context(), "r", 0, 100)
	if err != nil || len(p.Items) != 51 || p.Epoch == epoch || a.Stats().Lost+b.Stats().Lost > 0 {
		t.Errorf("%d items, epoch %q, %q, %v", len(p.Items), p.Epoch, epoch, err)
	}
	// Other messages have their offsets now, so the epoch is another one again.
	epoch = p.Epoch
	client.HSet(t.Context(), s.written(a.Token()), "n", 41)
	client.HSet(t.Context(), s.offset("r"), "offset", 60)
	a.keep("r", "a 51", 100, time.Hour)
	eventually(t, "the next to come", func() bool { return a.count() >= 52 && b.count() >= 52 })
	a.inOrder(52)
	b.inOrder(52)
	if m := b.got()[51]; m.Epoch == epoch {
		t.Errorf("the epoch is the old one at offset %d", m.Offset)
	}
}

// Entries may be cut before a reader has read them.
func TestCut(t *testing.T) {
	c := embedded(t)
	client := c()
	hold := make(chan struct{})
	a := join(t, client, quiet)
	var slow *node
	slow = join(t, c(), quiet, func(cfg *Config) {
		cfg.Receive = func(m *Message) { <-hold; slow.receive(m) }
	})
	a.send("r", "a 0")
	eventually(t, "the first", func() bool { return slow.Stats().Received == 1 })
	for i := range 3000 {
		a.send("r", fmt.Sprintf("a %d", i+1))
	}
	eventually(t, "all to be written", func() bool { return a.count() == 3001 })
	client.XTrimMaxLen(t.Context(), a.shard("r").entries(), 100)
	close(hold)
	eventually(t, "the end", func() bool { g := slow.got(); return len(g) > 0 && string(g[len(g)-1].Body) == "a 3000" })
	if got, s := slow.count(), slow.Stats(); int64(got)+s.Lost != 3001 || s.Lost == 0 {
		t.Errorf("%d received, %+v", got, s)
	}
}

func TestStartFails(t *testing.T) {
	c := embedded(t)
	client := c()
	closed := c()
	_ = closed.Close()
	receive := func(*Message) {}
	for name, cfg := range map[string]Config{
		"no client":  {Receive: receive},
		"no receive": {Client: client},
		"prefix":     {Client: client, Receive: receive, Prefix: "a{b"},
		"no redis":   {Client: closed, Receive: receive},
		"state":      {Client: client, Receive: receive, State: []byte("{")},
		"version":    {Client: client, Receive: receive, State: []byte(`{"version":2}`)},
		"shards":     {Client: client, Receive: receive, State: []byte(`{"version":1,"token":"a","shards":[{}]}`)},
		"position":   {Client: client, Receive: receive, Shards: 1, State: []byte(`{"version":1,"token":"a","shards":[{"position":"$"}]}`)},
	} {
		if _, err := Start(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestStopSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	h := &lossy{}
	n := join(t, c(h), quiet)
	h.gate.Lock()
	n.send("r", "a 0")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := n.Stop(ctx); err == nil || !strings.Contains(err.Error(), "1 messages") {
		t.Error(err)
	}
	h.gate.Unlock()
	if err := n.Stop(t.Context()); err != nil {
		t.Errorf("the second: %v", err)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add("TOKEN 1 2")
	f.Add("TOKEN 1 2 3 EPOCH 4 5")
	f.Add("TOKEN 9@3/2 2")
	f.Fuzz(func(t *testing.T, text string) {
		var m Message
		n, before, lane, err := parseHead(text, &m)
		if err != nil {
			return
		}
		again, was, where, err := parseHead(string(appendHead(nil, m.From, n, before, lane, m.Kind)), &Message{})
		if err != nil || again != n || was != before || where != lane {
			t.Errorf("%q: %d after %d, %v", text, again, was, err)
		}
	})
}

func FuzzParsePage(f *testing.F) {
	f.Add("s,1,e,1,1,1,1,2,body")
	f.Fuzz(func(t *testing.T, text string) { _, _ = parsePage(strings.Split(text, ",")) })
}

// bound sets the bounds of a stream.
func bound(bytes int, age time.Duration) func(*Config) {
	return func(c *Config) { c.Shards, c.StreamBytes, c.StreamAge = 1, bytes, age }
}

func TestStreamBounds(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	testStreamBounds(t, func() redis.UniversalClient { return c() })
}

func testStreamBounds(t *testing.T, client func() redis.UniversalClient) {
	for _, tc := range []struct {
		name        string
		count, size int
		change      func(*Config)
		most, least int // entries
	}{
		{"bytes", 200, 20_000, bound(1<<20, time.Hour), 53, 30},
		{"large ones", 20, 900_000, bound(2<<20, time.Hour), 2, 2},
		{"small ones", 3000, 10, bound(100_000, time.Hour), 900, 600},
		{"entries", 3000, 10, func(c *Config) { c.Shards, c.StreamLength = 1, 640 }, 650, 600},
		{"none", 300, 10, bound(1<<20, time.Hour), 300, 300},
	} {
		t.Run(tc.name, func(t *testing.T) {
			redis := client()
			n := join(t, redis, func(c *Config) { c.Prefix = tc.name + ":" }, tc.change)
			for i := range tc.count {
				body := fmt.Appendf(make([]byte, 0, tc.size), "a %d ", i)
				n.send("r", string(append(body, make([]byte, max(0, tc.size-len(body)))...)))
				if i%20 == 0 || tc.size > 100_000 {
					eventually(t, "it to come", func() bool { return n.count() == i+1 })
				}
			}
			eventually(t, "all to come", func() bool { return n.count() == tc.count })
			if kept := int(redis.XLen(t.Context(), n.shards[0].entries()).Val()); kept > tc.most || kept < tc.least {
				t.Errorf("%d entries are kept, wanted are %d to %d", kept, tc.least, tc.most)
			}
			if fields := redis.HLen(t.Context(), n.shards[0].ledger()).Val(); fields > 9+66 {
				t.Errorf("the ledger has %d fields", fields)
			}
		})
	}
}

// A stream keeps nothing for longer than its age, even if nothing more is written. Time in which
// nobody wrote hardly counts.
func TestStreamAge(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	testStreamAge(t, c())
}

func testStreamAge(t *testing.T, client redis.UniversalClient) {
	n := join(t, client, bound(1<<20, time.Hour))
	s := n.shards[0]
	length := func() int64 { return client.XLen(t.Context(), s.entries()).Val() }
	later := func(d time.Duration) { // as if the last was written so long ago
		at, err := client.HGet(t.Context(), s.ledger(), "at").Int64()
		if err != nil {
			t.Fatal(err)
		}
		client.HSet(t.Context(), s.ledger(), "at", at-d.Milliseconds())
	}
	sent := 0
	say := func() {
		t.Helper()
		n.send("r", fmt.Sprintf("a %d", sent))
		sent++
		eventually(t, "it to come", func() bool { return n.count() == sent && n.Stats().Pending == 0 })
	}
	say()
	later(2 * time.Hour) // an outage
	say()
	if length() != 2 {
		t.Errorf("%d entries after an outage", length())
	}
	for range 300 { // more than an hour, 15 s each
		later(15 * time.Second)
		say()
	}
	if got := length(); got < 235 || got > 265 {
		t.Errorf("%d entries of an hour", got)
	}

	quiet := join(t, client, bound(1<<20, time.Millisecond), func(c *Config) { c.Prefix = "quiet:" })
	quiet.send("r", "a 0")
	eventually(t, "it to come", func() bool { return quiet.count() == 1 })
	eventually(t, "it to go", func() bool { return client.XLen(t.Context(), quiet.shards[0].entries()).Val() == 0 })
	quiet.send("r", "a 1")
	eventually(t, "the next", func() bool { return quiet.count() == 2 })
	if lost := quiet.Stats().Lost; lost > 0 {
		t.Errorf("%d lost", lost)
	}
}

func TestNextRead(t *testing.T) {
	for _, tc := range []struct{ n, size, want int }{
		{0, 0, 32}, {1, 10, 32}, {32, 200, 64}, {100, 200, 200}, {512, 200, 512}, {32, 1 << 20, 3}, {3, 1 << 20, 3}, {1, 4 << 20, 1}, {1, 8 << 20, 1}, {10, 0, 32},
	} {
		if got := nextRead(tc.n, tc.n, 1+tc.n*tc.size); got != tc.want {
			t.Errorf("after %d of %d bytes %d are asked for, not %d", tc.n, tc.size, got, tc.want)
		}
	}
}

// A bus that is alone forgets a room once its messages are written.
func TestKeepsNothingOfRooms(t *testing.T) {
	n := join(t, embedded(t)(), alone)
	for i := range 1000 {
		n.keep(fmt.Sprint("room", i), "x", 1, time.Hour)
	}
	eventually(t, "all to come", func() bool { return n.count() == 1000 && n.Stats().Pending == 0 })
	for _, s := range n.shards {
		if len(s.queue.keeping) > 0 || n.Keeps("room1") {
			t.Errorf("%d rooms are remembered", len(s.queue.keeping))
		}
	}
	state, err := n.Suspend(t.Context())
	if err != nil || len(state) > 4000 {
		t.Errorf("%d bytes, %v", len(state), err)
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

// noMemory refuses writes, as a Redis without memory does.
type noMemory struct {
	lossy
	full atomic.Bool
}

func (h *noMemory) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.full.Load() && strings.HasPrefix(cmd.Name(), "eval") && len(cmd.Args()) > 16 {
			cmd.SetErr(redisError("OOM command not allowed when used memory > 'maxmemory'."))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

// Put reports that Redis is full. A message that is not kept is the caller's to deliver here;
// others get it later.
func TestPutIntoFullRedis(t *testing.T) {
	c := embedded(t)
	h := &noMemory{}
	n, other := join(t, c(h), quiet), join(t, c(), quiet)
	put := func(body string, keep int, wait bool) error {
		return n.Put(&Message{Kind: 7, Key: "r", Body: []byte(body), Keep: keep, Age: time.Hour}, wait)
	}
	for i, keep := range []int{10, 0} {
		if err := put(fmt.Sprint("a ", i), keep, true); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := n.History(t.Context(), "r", 0, 10); err != nil || len(p.Items) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	h.full.Store(true)
	if err := put("lost", 10, true); !errors.Is(err, ErrNotTaken) {
		t.Errorf("a kept one: %v", err)
	}
	if err := put("lost", 10, true); !errors.Is(err, ErrNotTaken) {
		t.Errorf("a second: %v", err)
	}
	if err := put("a 2", 0, true); !errors.Is(err, ErrQueued) {
		t.Errorf("a plain one: %v", err)
	}
	if err := put("a 3", 0, false); !errors.Is(err, ErrQueued) {
		t.Errorf("one for which nobody waits: %v", err)
	}
	if err := put("lost", 10, false); !errors.Is(err, ErrNotTaken) {
		t.Errorf("a kept one for which nobody waits: %v", err)
	}
	h.full.Store(false)
	if err := put("a 4", 0, true); err != nil && !errors.Is(err, ErrQueued) {
		t.Fatal(err)
	}
	bodies := func(n *node) (list []string) {
		for _, m := range n.got() {
			if m.Kind != 0 {
				list = append(list, string(m.Body))
			}
		}
		return list
	}
	eventually(t, "all to come to the other", func() bool { return len(bodies(other)) == 5 })
	other.send("r", "end")
	eventually(t, "the end", func() bool { b := bodies(n); return b[len(b)-1] == "end" })
	if b := strings.Join(bodies(n), ","); b != "a 0,a 1,a 4,end" && b != "a 0,a 1,end" {
		t.Errorf("here came %s", b)
	}
	if s := other.Stats(); s.Lost > 0 {
		t.Errorf("%+v", s)
	}
}

// NewEpochs ends all positions, also those in rooms in which nothing was kept.
func TestNewEpochs(t *testing.T) {
	c := embedded(t)()
	n := join(t, c, alone)
	read := func(room string) (p Page) {
		eventually(t, "a page", func() bool {
			var err error
			p, err = n.History(t.Context(), room, 0, 1)
			return err == nil
		})
		return p
	}
	n.keep("r", "a 0", 10, time.Hour)
	eventually(t, "it to come", func() bool { return n.count() == 1 })
	r, quiet := read("r"), read("quiet")
	now := read("r")
	if _, ok := now.Follows(r.Epoch, 1); !ok {
		t.Errorf("%+v", now)
	}
	now = read("quiet")
	if at, ok := now.Follows(quiet.Epoch, 0); !ok || at != 0 {
		t.Errorf("%+v", now)
	}
	n.keep("quiet", "a 0", 10, time.Hour)
	eventually(t, "it to come", func() bool { return n.count() == 2 })
	now = read("quiet")
	if at, ok := now.Follows(quiet.Epoch, 0); !ok || at != 0 || now.Offset != 1 {
		t.Errorf("%+v", now)
	}
	if err := NewEpochs(t.Context(), c, "p:"); err != nil {
		t.Fatal(err)
	}
	for room, before := range map[string]Page{"r": r, "quiet": quiet} {
		now := read(room)
		if _, ok := now.Follows(before.Epoch, before.Offset); ok || now.Offset != 1 {
			t.Errorf("%s: %+v follows %+v", room, now, before)
		}
	}
}
