package bus

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const testLanes = 64

// interested is a node that reads only what it needs.
func interested(c *Config) { c.Interest = NewInterest(4, testLanes) }

// enter adds a member to a room, leave removes it.
func (n *node) enter(room string) {
	n.t.Helper()
	done := n.Want(n.t.Context(), room)
	n.cfg.Interest.Add(room)
	done()
}

func (n *node) leave(room string) { n.cfg.Interest.Remove(room) }

func (n *node) say(room, body string) {
	n.t.Helper()
	if err := n.Send(&Message{Kind: 7, Key: room, Room: true, Body: []byte(body)}); err != nil {
		n.t.Fatal(err)
	}
}

// of are the bodies that have come to a room.
func (n *node) of(room string) (bodies []string) {
	for _, m := range n.got() {
		if m.Key == room && m.Room {
			bodies = append(bodies, string(m.Body))
		}
	}
	return bodies
}

// settled waits until the nodes have received everything that n has sent.
func settled(t testing.TB, n *node, nodes ...*node) {
	t.Helper()
	for _, o := range nodes {
		done := make(chan struct{})
		o.After(n.Token(), n.Cursor(), patience, func() { close(done) })
		<-done
	}
}

// A node without members of a room does not read its messages, and needs no wait to know that it
// has everything that came before a cursor.
func TestInterestReadsOnlyItsRooms(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	a, b := join(t, c(), quiet, interested), join(t, c(), quiet, interested)
	for i := range 100 {
		a.say("r", fmt.Sprint("before ", i))
	}
	settled(t, a, a, b)
	if got := b.Stats().Read; got > 8 {
		t.Errorf("%d entries were read by a node without members", got)
	}
	b.enter("r")
	for i := range 100 {
		a.say("r", fmt.Sprint("x ", i))
	}
	settled(t, a, a, b)
	if got := b.of("r"); len(got) != 100 || got[0] != "x 0" || got[99] != "x 99" {
		t.Errorf("%d messages: %.5q", len(got), got)
	}
	if got := a.of("r"); len(got) > 0 {
		t.Errorf("the sender without members received %d", len(got))
	}
	b.leave("r")
	b.enter("r") // at once: it is still read
	a.say("r", "x 100")
	settled(t, a, b)
	if got := b.of("r"); len(got) != 101 {
		t.Errorf("%d messages", len(got))
	}
	if lost := a.Stats().Lost + b.Stats().Lost; lost > 0 {
		t.Errorf("%d lost", lost)
	}
}

// A node with many rooms reads one stream, and goes back to few.
func TestInterestInManyRooms(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	a, b := join(t, c(), quiet, interested), join(t, c(), quiet, interested)
	room := func(i int) string { return fmt.Sprint("room", i) }
	all := func(want bool) {
		t.Helper()
		eventually(t, "another way to read", func() bool {
			a.send("x", "") // ends the wait of a read
			i := b.shard("x").interest
			i.mu.Lock()
			defer i.mu.Unlock()
			return i.all == want
		})
	}
	const rooms = 600
	for i := range rooms {
		b.enter(room(i))
		a.say(room(i), "x 0")
	}
	all(true)
	for i := range rooms {
		a.say(room(i), "x 1")
	}
	settled(t, a, b)
	for i := rooms - 1; i > 4; i-- {
		b.leave(room(i))
	}
	for _, i := range b.cfg.Interest.shards {
		i.mu.Lock()
		for lane := range i.wishes {
			i.wishes[lane].until = time.Time{} // lingerTime later
		}
		i.mu.Unlock()
	}
	all(false)
	for i := range rooms {
		a.say(room(i), "x 2")
	}
	settled(t, a, b)
	for i := range rooms {
		got := b.of(room(i))
		if len(got) < 2 || got[0] != "x 0" || got[1] != "x 1" || i < 5 && len(got) != 3 {
			t.Fatalf("%s: %q", room(i), got)
		}
	}
	if lost := b.Stats().Lost; lost > 0 {
		t.Errorf("%d lost", lost)
	}
}

// stay is one stay of a member in a room: what was sent to the room before it, and during it.
type stay struct{ from, to int64 }

// Rooms are joined and left at random while all nodes send to them. Each message that was sent
// during a stay comes once, in order, and none that was sent before it.
func TestInterestAtRandom(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	testInterestAtRandom(t, func(int) redis.UniversalClient { return c() }, 200, 10, func() {})
}

func testInterestAtRandom(t *testing.T, client func(node int) redis.UniversalClient, rooms, rounds int, disturb func()) {
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, join(t, client(i), quiet, interested, func(c *Config) { c.Timeout = patience / 4; c.PendingMessages = 1 << 20 }))
	}
	type hall struct {
		mu   sync.Mutex // senders of one room take turns, so that their messages have one order
		sent int64
		seen atomic.Int64
	}
	halls := make([]hall, rooms)
	name := func(i int) string { return fmt.Sprint("hall", i) }
	stop := make(chan struct{})
	var senders, movers sync.WaitGroup
	for i, n := range nodes {
		senders.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if n.Stats().Pending > 20 {
					time.Sleep(time.Millisecond) // a rate, not a wait
					continue
				}
				at := r.IntN(rooms)
				if at%len(nodes) != i { // one sender for each room: the numbers have one order
					continue
				}
				h := &halls[at]
				h.mu.Lock()
				n.say(name(at), fmt.Sprint(h.sent))
				h.sent++
				h.mu.Unlock()
				if r.IntN(4) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	stays := make([]map[int][]stay, len(nodes))
	for i, n := range nodes {
		stays[i] = map[int][]stay{}
		movers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			in := map[int]int64{}
			for range rounds {
				for range 20 {
					at := r.IntN(rooms)
					h := &halls[at]
					if from, ok := in[at]; ok {
						h.mu.Lock()
						to := h.sent
						h.mu.Unlock()
						// What was sent has to come before the room is left.
						settled(t, nodes[at%len(nodes)], n)
						n.leave(name(at))
						delete(in, at)
						stays[i][at] = append(stays[i][at], stay{from, to})
						continue
					}
					n.enter(name(at))
					h.mu.Lock()
					in[at] = h.sent
					h.mu.Unlock()
				}
				if r.IntN(4) == 0 { // lanes are dropped
					for _, i := range n.cfg.Interest.shards {
						i.mu.Lock()
						for lane := range i.wishes {
							i.wishes[lane].until = time.Time{}
						}
						i.mu.Unlock()
					}
				}
				time.Sleep(5 * time.Millisecond) // a rate, not a wait
			}
			for at, from := range in {
				h := &halls[at]
				h.mu.Lock()
				to := h.sent
				h.mu.Unlock()
				settled(t, nodes[at%len(nodes)], n)
				stays[i][at] = append(stays[i][at], stay{from, to})
			}
		})
	}
	disturb()
	movers.Wait()
	close(stop)
	senders.Wait()
	checked := 0
	for i, n := range nodes {
		got := map[string][]int64{}
		for _, m := range n.got() {
			if !m.Room {
				continue
			}
			var number int64
			if _, err := fmt.Sscan(string(m.Body), &number); err != nil {
				t.Fatal(err)
			}
			list := got[m.Key]
			if len(list) > 0 && list[len(list)-1] >= number {
				t.Fatalf("node %d, %s: %d after %d", i, m.Key, number, list[len(list)-1])
			}
			got[m.Key] = append(list, number)
		}
		for at, list := range stays[i] {
			have := map[int64]bool{}
			for _, number := range got[name(at)] {
				have[number] = true
			}
			for _, s := range list {
				for number := s.from; number < s.to; number++ {
					checked++
					if !have[number] {
						t.Fatalf("node %d, %s: %d of %v is missing", i, name(at), number, s)
					}
				}
			}
		}
		if lost := n.Stats().Lost; lost > 0 {
			t.Errorf("node %d: %d lost", i, lost)
		}
	}
	t.Logf("%d messages in stays", checked)
	if checked < 1000 {
		t.Error("too few")
	}
}

// What follows a cursor waits for what was sent to rooms of this node.
func TestInterestCursor(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	a, b := join(t, c(), quiet, interested), join(t, c(), quiet, interested)
	for round := range 50 {
		room := fmt.Sprint("r", round%7)
		if round < 7 {
			b.enter(room)
		}
		before := len(b.of(room))
		for i := range 20 {
			a.say(room, fmt.Sprint("x ", i))
			a.say(fmt.Sprint("other", i), "")
		}
		settled(t, a, b)
		if got := len(b.of(room)) - before; got != 20 {
			t.Fatalf("%d of 20 have come before what follows them", got)
		}
	}
}

// Another process continues with the lanes of the first one.
func TestInterestHandOver(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	a, b := join(t, c(), quiet, interested), join(t, c(), quiet, interested)
	for i := range 10 {
		b.enter(fmt.Sprint("r", i))
	}
	sent := 0
	say := func() {
		for i := range 12 {
			a.say(fmt.Sprint("r", i), fmt.Sprint("x ", sent))
		}
		sent++
	}
	say()
	settled(t, a, b)
	for range 5 {
		state, err := b.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		say()
		next := join(t, c(), quiet, interested, from(state), func(c *Config) {
			for i := range 10 {
				c.Interest.Add(fmt.Sprint("r", i)) // the connections come first
			}
		})
		b.Detach()
		say()
		settled(t, a, next)
		next.mu.Lock()
		next.m = append(b.got(), next.m...)
		next.mu.Unlock()
		b = next
	}
	for i := range 10 {
		got := b.of(fmt.Sprint("r", i))
		if len(got) != sent {
			t.Fatalf("%d of %d messages", len(got), sent)
		}
		for j := range got {
			if got[j] != fmt.Sprint("x ", j) {
				t.Fatalf("%q", got)
			}
		}
	}
}

// A Redis that does not answer delays a join for a bounded time, and nothing is missed.
func TestInterestWithoutRedis(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	h := &lossy{}
	a := join(t, c(), quiet, interested)
	b := join(t, c(h), quiet, interested, func(c *Config) { c.Timeout = 100 * time.Millisecond })
	b.enter("first")
	a.say("first", "x 0")
	settled(t, a, b)
	h.gate.Lock()
	b.enter("r") // waits, but not for ever
	b.enter("r2")
	b.enter("first")
	a.say("r", "x 0")
	a.say("r2", "x 0")
	a.say("first", "x 1")
	h.gate.Unlock()
	eventually(t, "all to come", func() bool {
		return len(b.of("r")) == 1 && len(b.of("r2")) == 1 && len(b.of("first")) == 2
	})
}

// Nodes with other numbers of sub-streams do not start beside each other.
func TestInterestDiffers(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	client := c()
	a := join(t, client, quiet, interested)
	eventually(t, "it to read", func() bool {
		return client.HGet(t.Context(), a.shards[0].record(), "lanes").Val() == fmt.Sprint(testLanes)
	})
	other := Config{Client: c(), Prefix: "p:", Receive: func(*Message) {}}
	if _, err := Start(t.Context(), other); !errors.Is(err, ErrSubstreams) {
		t.Error(err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), other); err != nil {
		t.Error(err)
	}
}

// Messages of a lane that were gone before they were read concern its rooms.
func TestInterestMisses(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	var lost atomic.Int64
	var concerns func(string) bool
	a := join(t, c(), quiet, interested)
	b := join(t, c(), quiet, interested, func(cfg *Config) {
		cfg.Lost = func(f func(string) bool) { concerns = f; lost.Add(1) }
	})
	b.enter("r")
	a.say("r", "x 0")
	settled(t, a, b)
	if lost.Load() > 0 {
		t.Error("something was lost")
	}
	s, lane := b.Bus.place("r", true)
	client := c()
	begin := time.Now().UnixMilli() // an id of the same millisecond may be one that was read
	eventually(t, "the next millisecond", func() bool { return time.Now().UnixMilli() > begin+1 })
	head := a.Token() + fmt.Sprintf(" 100@%d/90 7", lane)
	if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: s.lane(lane), Values: []any{"h", head, "k", "r", "b", "x 1"}}).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it to come", func() bool { return len(b.of("r")) == 2 })
	if lost.Load() != 1 || !concerns("r") {
		t.Error("nobody was told")
	}
	for i := range 100 {
		if room := fmt.Sprint(i); shardOf(room, 4) != s.index && concerns(room) {
			t.Errorf("%s is concerned", room)
		}
	}
}
