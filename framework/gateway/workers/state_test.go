package workers

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"wsframe/framework/gateway"
)

// move moves clients to a new Table, as a reload does.
func (r rig) move(conns ...*fakeConn) rig {
	r.Helper()
	next := newRig(r.T, r.config)
	if err := next.ImportGone(r.ExportGone()); err != nil {
		r.Fatal(err)
	}
	for _, c := range conns {
		events, err := next.Import(c, c.events.Export())
		if err != nil {
			r.Fatal(err)
		}
		c.events, c.paused = events, len(events.(*client).events) > 0
	}
	return next
}

// A reload keeps the worker of each client, and the events that wait.
func TestReload(t *testing.T) {
	old := newRig(t, Config{Gateway: netip.MustParseAddrPort("10.1.2.3:2900")})
	oldA, oldB := old.worker("A"), old.worker("B")
	one, two, three := old.open(1), old.open(2), old.open(3)
	oldA.slow = true
	oldA.take()
	three.say(strings.Repeat("x", maxWaiting-headerSize))
	three.say("three")
	one.events.Closed([]byte("S"))
	oldB.take()

	r := old.move(two, three)
	two.say("before the workers")
	four := r.open(4)
	b := r.worker("B")
	r.got(b, "message 2 before the workers", "connect 4 ", "websocket_connect 4 ")
	if two.paused || four.paused || !three.paused {
		t.Error("paused", two.paused, four.paused, three.paused)
	}
	a := r.worker("A")
	r.Restored()
	r.got(a, "close 1 S", "message 3 three")
	three.say("again")
	r.got(a, "message 3 again")
	if r.gone != (departed{}) || r.workers[0].clients != 2 || r.workers[1].clients != 1 {
		t.Error(r.gone, r.workers[0].clients, r.workers[1].clients)
	}
	three.events.Closed(nil)
	two.events.Closed(nil)
	four.events.Closed(nil)
	if a.got[5] != 10 || a.got[9] != 0x0b || r.workers[0].clients+r.workers[1].clients != 0 {
		t.Errorf("% x", a.got[:headerSize])
	}
}

// Clients whose worker does not come with the reload get another.
func TestReloadWithoutWorker(t *testing.T) {
	old := newRig(t, Config{})
	old.worker("A")
	one, two := old.open(1), old.open(2)
	r := old.move(one, two)
	b := r.worker("B")
	one.say("waits")
	two.events.Closed(nil)
	r.got(b)
	r.Restored()
	r.got(b, "message 1 waits", "close 2 ")
	one.say("on")
	r.got(b, "message 1 on")
	a := r.worker("A")
	if r.workers[0].clients != 1 || r.workers[1].clients != 0 {
		t.Error(r.workers)
	}
	r.got(a)
}

// The end of a client of a dead node has the client_id of that node.
func TestDeparted(t *testing.T) {
	r := newRig(t, Config{Gateway: netip.MustParseAddrPort("10.0.0.1:2900")})
	r.Departed(gateway.Departed{
		ID:     gateway.ClientID{Gateway: netip.MustParseAddrPort("10.0.0.2:2901"), Connection: 7},
		Remote: netip.MustParseAddrPort("9.9.9.9:99"), Port: 7272, Session: []byte("S"),
	})
	w := r.worker("A")
	const want = "\x00\x00\x00\x1d\x04\x0a\x00\x00\x02\x0b\x55\x09\x09\x09\x09\x00\x63\x00\x00\x00\x07\x01\x1c\x68\x00\x00\x00\x01S"
	if got := string(w.got); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A state that cannot be read is an error, whatever it holds.
func FuzzImport(f *testing.F) {
	old := newRig(nil, Config{})
	c := old.open(1)
	c.say("x")
	f.Add(c.events.Export())
	c.events.Closed([]byte("S"))
	f.Add(old.ExportGone())
	f.Fuzz(func(t *testing.T, state []byte) {
		r := newRig(t, Config{})
		conn := &fakeConn{}
		events, err := r.Import(conn, state)
		if err == nil {
			conn.events = events
			events.Message(nil)
			events.Closed(nil)
		}
		_ = r.ImportGone(state) // only a panic would be a fault
		r.worker("A").take()
		r.Restored()
	})
}

// Everything may happen at the same time.
func TestConcurrent(t *testing.T) {
	r := newRig(t, Config{Heartbeat: Heartbeat{Interval: 1}})
	stop := r.run()
	var wg sync.WaitGroup
	for i := range uint32(8) {
		wg.Go(func() {
			for range 50 {
				c := &lockedConn{}
				events := r.Open(c, gateway.Opening{})
				events.Message([]byte{byte(i)})
				events.Export()
				events.Closed(nil)
				w := &fakeWorker{}
				w.events = r.Connect(string(rune('A'+i)), local, w)
				w.written(0)
				r.Stats()
				w.events.Gone()
			}
		})
	}
	wg.Wait()
	stop()
	if s := r.Stats(); len(s.Workers) != 0 || s.Waiting != r.gone.count {
		t.Errorf("%+v", s)
	}
}

// lockedConn is a client's connection for concurrent use.
type lockedConn struct {
	mu sync.Mutex
	n  int
}

func (c *lockedConn) do() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *lockedConn) ID() uint32             { return 1 }
func (c *lockedConn) Session() []byte        { return nil }
func (c *lockedConn) Pause()                 { c.do() }
func (c *lockedConn) Resume()                { c.do() }
func (c *lockedConn) Send(m gateway.Message) { c.do() }
func (c *lockedConn) Close(int, string)      { c.do() }
