package room

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"wsframe/framework/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// person is a member whose outbox remembers what it got.
type person struct {
	Member
	t *testing.T

	mu     sync.Mutex
	got    []string
	writes int
	most   wire.Frame // the largest buffer that came
	closed wire.Close
	stuck  chan struct{} // non-nil: writes wait for its close
}

func (p *person) Send(f wire.Frame) error {
	p.mu.Lock()
	stuck := p.stuck
	p.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	p.most = wire.Frame{Bytes: make([]byte, max(p.most.Len(), f.Len())), Count: max(p.most.Count, f.Count)}
	n := 0
	for b := f.Bytes; len(b) > 0; n++ {
		h, ok := wire.ParseHeader(b)
		if !ok || h.Size+int(h.Length) > len(b) {
			p.t.Errorf("no frame: %x", b)
			return nil
		}
		p.got, b = append(p.got, string(b[h.Size:h.Size+int(h.Length)])), b[h.Size+int(h.Length):]
	}
	if n != f.Count {
		p.t.Errorf("%d frames, said to be %d", n, f.Count)
	}
	return nil
}

func (p *person) SendAll(frames []wire.Frame) {
	var all wire.Frame
	for _, f := range frames {
		all.Bytes, all.Count = append(all.Bytes, f.Bytes...), all.Count+f.Count
	}
	_ = p.Send(all)
}

func (p *person) Close(code int, reason string) { p.closed = wire.Close{Code: code, Reason: reason} }

// has checks what came so far, and forgets it.
func (p *person) has(want string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := strings.Join(p.got, " "); got != want {
		p.t.Errorf("member %d has %q, want %q", p.FD, got, want)
	}
	p.got, p.writes = nil, 0
}

// house is Rooms with people in them.
type house struct {
	*Rooms
	t      *testing.T
	people []*person
}

const tick = 5 * time.Millisecond

func newHouse(t *testing.T, cfg Config) *house {
	h := &house{t: t}
	if cfg.Flush == 0 {
		cfg.Flush = tick
	}
	if cfg.OutboxBytes == 0 {
		cfg.OutboxBytes = 1 << 20
	}
	if cfg.OutboxMessages == 0 {
		cfg.OutboxMessages = 1024
	}
	if cfg.PerMember == 0 {
		cfg.PerMember = 3
	}
	cfg.Count = func() int { return len(h.people) }
	cfg.Everyone = func() (list []*Member) {
		for _, p := range h.people {
			list = append(list, &p.Member)
		}
		return list
	}
	h.Rooms = New(cfg)
	return h
}

// person comes, and joins the rooms.
func (h *house) person(rooms ...string) *person {
	h.t.Helper()
	p := &person{t: h.t}
	p.Init(h.Rooms, int64(len(h.people)+1), p)
	h.people = append(h.people, p)
	for _, room := range rooms {
		p.enter(room)
	}
	return p
}

func (p *person) enter(room string) {
	p.t.Helper()
	if _, err := p.Join(room); err != nil {
		p.t.Error(err)
	}
}

func text(s string) wire.Frame { return wire.TextFrame([]byte(s)) }

// kept is a frame with a position, which it says.
func kept(i int) wire.Frame {
	return text(fmt.Sprint(i)).With(wire.Handling{Offset: int64(i), Epoch: "e"})
}

func at(offset int64) Position { return Position{offset, "e"} }

func TestJoinAndLeave(t *testing.T) {
	h := newHouse(t, Config{})
	a, b := h.person("r"), h.person("r", "s")
	if fresh, err := a.Join("r"); fresh || err != nil {
		t.Error("joined twice")
	}
	if h.Members("r") != 2 || h.Members("s") != 1 || h.Members("none") != 0 || h.RoomCount() != 2 || len(h.RoomNames()) != 2 {
		t.Error(h.RoomNames())
	}
	if got := h.MembersOf("r"); len(got) != 2 || got[0].Outbox() != a || got[1].Outbox() != b || h.MembersOf("none") != nil {
		t.Error(got)
	}
	if !a.InRoom("r") || a.InRoom("s") || !a.Leave("r") || a.Leave("r") || a.InRoom("r") {
		t.Error(a.Rooms())
	}
	b.enter("q")
	if _, err := b.Join("p"); err != ErrTooManyRooms {
		t.Error(err)
	}
	if got := strings.Join(b.LeaveAll(), " "); got != "r s q" || h.RoomCount() != 0 {
		t.Error(got, h.RoomNames())
	}
	if _, err := b.Join("r"); err != ErrClosed {
		t.Error(err)
	}
	if n := h.Publish("r", text("nobody")); n != 0 {
		t.Error(n)
	}
}

// A quiet room is written at once, one that is busy once a tick, with all its frames in one write.
func TestTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		p, q := h.person("r"), h.person("r")
		for range 3 {
			time.Sleep(time.Second)
			if n := h.Publish("r", text("now")); n != 2 {
				t.Error(n)
			}
			p.has("now")
			q.has("now")
		}
		for i := range 20 {
			h.Publish("r", text(fmt.Sprint(i)))
		}
		p.has("0 1 2 3 4") // so many show that it is busy
		begun := time.Now()
		h.SettleRooms()
		if took := time.Since(begun); took != tick || p.writes != 1 || p.most.Count != 15 {
			t.Errorf("%v, %d writes of %d frames", took, p.writes, p.most.Count)
		}
		p.has("5 6 7 8 9 10 11 12 13 14 15 16 17 18 19")
	})
}

// A negative tick is none, and a room of one has none.
func TestNoTick(t *testing.T) {
	for flush, members := range map[time.Duration]int{-1: 2, tick: 1} {
		h := newHouse(t, Config{Flush: flush})
		for range members {
			h.person("r")
		}
		for i := range 5 {
			h.Publish("r", text(fmt.Sprint(i)))
		}
		h.people[0].has("0 1 2 3 4")
	}
}

// A busy room collects at most half a member's outbox in one tick.
func TestTickFitsTheOutbox(t *testing.T) {
	for name, cfg := range map[string]Config{"frames": {OutboxMessages: 16}, "bytes": {OutboxBytes: 8 << 10}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, cfg)
				p, _ := h.person("r"), h.person("r")
				pad := strings.Repeat(".", 500)
				var want []string
				for i := range 100 {
					want = append(want, fmt.Sprint(i, pad))
					h.Publish("r", text(want[i]))
				}
				h.SettleRooms()
				if p.most.Count > h.cfg.OutboxMessages/2 || p.most.Len() > h.cfg.OutboxBytes/2 {
					t.Errorf("%d frames, %d bytes at once", p.most.Count, p.most.Len())
				}
				p.has(strings.Join(want, " "))
			})
		})
	}
}

// Broadcast writes as Publish does: its caller does not wait for the writes.
func TestBroadcastDoesNotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		stuck := make(chan struct{})
		for range inlineMembers + 1 {
			h.person().stuck = stuck
		}
		if n := h.Broadcast(text("news")); n != len(h.people) {
			t.Error(n)
		}
		close(stuck)
		h.SettleRooms()
		for _, p := range h.people {
			p.has("news")
		}
	})
}

// All members get one order, and each publisher's frames in its own.
func TestOrder(t *testing.T) {
	const members, publishers, each = 40, 4, 500
	h := newHouse(t, Config{OutboxMessages: 1 << 20, OutboxBytes: 64 << 20})
	for range members {
		h.person("r")
	}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				h.Publish("r", text(fmt.Sprintf("%d:%d", p, i)))
			}
		})
	}
	wg.Wait()
	h.SettleRooms()
	next := make([]int, publishers)
	for _, m := range h.people[0].got {
		var p, n int
		_, _ = fmt.Sscanf(m, "%d:%d", &p, &n)
		if n != next[p] {
			t.Fatalf("publisher %d: got %d, want %d", p, n, next[p])
		}
		next[p]++
	}
	all := strings.Join(h.people[0].got, " ")
	for _, p := range h.people {
		if len(p.got) != publishers*each {
			t.Fatalf("%d frames", len(p.got))
		}
		p.has(all)
	}
}

func TestExcept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		a, b := h.person("r"), h.person("r")
		for range 10 { // faster than the tick: collected with others
			h.Publish("r", text("all"))
			h.Publish("r", text("some").With(wire.Handling{Except: []int64{b.FD}}))
		}
		h.SettleRooms()
		a.has(strings.TrimSpace(strings.Repeat("all some ", 10)))
		b.has(strings.TrimSpace(strings.Repeat("all ", 10)))
	})
}

// Frames that may be dropped are not mixed with others, nor values that replace each other.
func TestClassesStayApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		p, _ := h.person("r"), h.person("r")
		for range 8 {
			h.Publish("r", text("busy"))
		}
		h.SettleRooms()
		p.got, p.most = nil, wire.Frame{}
		for i := range 4 {
			h.Publish("r", text("must"))
			h.Publish("r", text("may").With(wire.Handling{Class: wire.DropOldest}))
			h.Publish("r", text(fmt.Sprint("v", i)).With(wire.Handling{Class: wire.Latest, Key: "v"}))
		}
		h.SettleRooms()
		if p.most.Count != 1 {
			t.Errorf("%d frames in one buffer", p.most.Count)
		}
		p.has("must may v0 must may v1 must may v2 must may v3")
	})
}

// After and AfterMembers come when what was published is in the outboxes, at once where that is
// so already.
func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		p, _ := h.person("r"), h.person("r")
		for range 8 {
			h.Publish("r", text("busy"))
		}
		h.SettleRooms()
		p.has("busy busy busy busy busy busy busy busy")
		done := ""
		h.After("r", func() { done += "room " })
		h.AfterMembers([]*Member{&p.Member}, func() { done += "member " })
		h.After("none", func() { done += "none " })
		if done != "room member none " {
			t.Error(done)
		}
		h.Publish("r", text("3"))
		for _, f := range []func(func()){func(f func()) { h.After("r", f) }, func(f func()) { h.AfterMembers([]*Member{&p.Member}, f) }} {
			f(func() { _ = p.Send(text("then")) })
		}
		p.has("")
		synctest.Wait()
		p.has("")
		time.Sleep(tick)
		synctest.Wait()
		p.has("3 then then")
	})
}

// Flush writes what is pending at once, and waits for a fan-out that runs. Ticks go on afterwards.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		p, q := h.person("r"), h.person("r")
		h.Flush("r")
		h.Flush("none")
		for range 8 {
			h.Publish("r", text("busy"))
			h.Broadcast(text("all"))
		}
		begun := time.Now()
		h.Flush("r")
		h.FlushEveryone()
		if n := strings.Count(strings.Join(p.got, " "), "busy"); n != 8 || len(p.got) != 16 || time.Since(begun) != 0 {
			t.Error(p.got, time.Since(begun))
		}
		time.Sleep(tick)
		synctest.Wait()
		p.got = nil
		for range 8 {
			h.Publish("r", text("busy"))
		}
		p.got = nil
		stuck := make(chan struct{})
		q.mu.Lock()
		q.stuck = stuck
		q.mu.Unlock()
		go h.Flush("r")
		synctest.Wait()
		h.Publish("r", text("later"))
		flushed := false
		go func() {
			h.Flush("r")
			flushed = true
		}()
		synctest.Wait()
		if flushed {
			t.Error("Flush does not wait for the running fan-out")
		}
		close(stuck)
		synctest.Wait()
		if got := p.got[len(p.got)-1]; !flushed || got != "later" {
			t.Error(flushed, p.got)
		}
		time.Sleep(2 * tick)
		h.SettleRooms()
	})
}

// A frame is translated once for all members of a dialect, and not for others.
func TestDialects(t *testing.T) {
	calls := 0
	rs := New(Config{Flush: -1, OutboxBytes: 1 << 20, OutboxMessages: 1 << 10, PerMember: 8, Translate: func(f wire.Frame, d wire.Dialect) wire.Frame {
		calls++
		return f.In(d, func(dst, payload []byte) []byte { return append(append(dst, '0'+byte(d), ' '), payload...) })
	}})
	people := make([]*person, 6)
	for i := range people {
		people[i] = &person{t: t}
		people[i].Dialect = wire.Dialect(i % 3)
		people[i].Init(rs, int64(i), people[i])
		if _, err := people[i].Join("r"); err != nil {
			t.Fatal(err)
		}
	}
	rs.Publish("r", wire.TextFrame([]byte("hi")))
	for i, p := range people {
		if want := []string{"hi", "1 hi", "2 hi"}[i%3]; len(p.got) != 1 || p.got[0] != want {
			t.Errorf("%d: %q", i, p.got)
		}
	}
	if calls != 2 {
		t.Errorf("translated %d times", calls)
	}
}
