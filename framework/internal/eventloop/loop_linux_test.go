package eventloop

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket is one end of a pair in a loop, and the other end.
type socket struct {
	fd, peer int
	key      Key
	on       func(r *Runner, ended bool)
	events   chan bool // whether each has ended
	overran  chan struct{}
}

type harness struct {
	*Loop[socket]
	t *testing.T
}

func newLoop(t *testing.T) harness {
	t.Helper()
	l, err := New(Calls[socket]{
		Ready: func(s *socket, r *Runner, ended bool) {
			if s.on != nil {
				s.on(r, ended)
			}
			s.events <- ended
		},
		Overran: func(s *socket) { s.overran <- struct{}{} },
		Fault:   func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return harness{l, t}
}

func (l harness) socket(on func(*Runner, bool)) *socket {
	l.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	s := &socket{fd: fds[0], peer: fds[1], on: on, events: make(chan bool, 100), overran: make(chan struct{}, 100)}
	l.t.Cleanup(func() { _, _ = unix.Close(s.fd), unix.Close(s.peer) })
	if s.key, err = l.Add(s.fd, s); err != nil {
		l.t.Fatal(err)
	}
	return s
}

func (s *socket) send(t *testing.T) {
	t.Helper()
	if _, err := unix.Write(s.peer, []byte("x")); err != nil {
		t.Fatal(err)
	}
}

func (s *socket) want(t *testing.T, ended bool) {
	t.Helper()
	select {
	case got := <-s.events:
		if got != ended {
			t.Fatalf("ended is %v", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("no event")
	}
}

// A socket has an event for each time that bytes come, one for its end, and none once it is removed.
func TestEvents(t *testing.T) {
	l := newLoop(t)
	a, b := l.socket(nil), l.socket(nil)
	for range 3 {
		a.send(t)
		a.want(t, false)
	}
	b.send(t)
	b.want(t, false)
	_ = unix.Shutdown(a.peer, unix.SHUT_WR)
	a.want(t, true)
	l.Remove(b.fd, b.key)
	b.send(t)
	c := l.socket(nil) // in b's slot
	c.send(t)
	c.want(t, false)
	if len(b.events) > 0 || l.table.get(b.key) != nil {
		t.Error("a removed socket is watched")
	}
}

// An action that does not end soon loses the loop, in whatever way it keeps it.
func TestTakeOver(t *testing.T) {
	l := newLoop(t)
	for name, block := range map[string]func(end chan struct{}){
		"waits": func(end chan struct{}) { <-end },
		"computes": func(end chan struct{}) {
			for {
				select {
				case <-end:
					return
				default:
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := make(chan struct{})
			var lost atomic.Bool
			slow := l.socket(func(r *Runner, _ bool) {
				r.Begin()
				r.Begin() // has no effect
				block(end)
				lost.Store(r.Lost())
			})
			other := l.socket(func(r *Runner, _ bool) { r.Begin() })
			slow.send(t)
			for range 3 {
				other.send(t)
				other.want(t, false)
			}
			<-slow.overran
			close(end)
			slow.want(t, false)
			if !lost.Load() {
				t.Error("the slow action was not notified")
			}
			slow.send(t)
			slow.want(t, false)
		})
	}
}

// The loop goes on after an action that ends its goroutine, before and after it lost the loop.
func TestExit(t *testing.T) {
	l := newLoop(t)
	other := l.socket(nil)
	for _, wait := range []bool{false, true} {
		exited := make(chan struct{})
		s := l.socket(func(r *Runner, _ bool) {
			defer close(exited)
			r.Begin()
			for wait && !r.Lost() {
				time.Sleep(WatchTime)
			}
			runtime.Goexit()
		})
		s.send(t)
		<-exited
		for range 3 {
			other.send(t)
			other.want(t, false)
		}
	}
}

// The timer of the watchdog stops when nothing happens, and starts with the next action.
func TestRest(t *testing.T) {
	l := newLoop(t)
	s := l.socket(func(r *Runner, _ bool) { r.Begin() })
	for range 2 {
		s.send(t)
		s.want(t, false)
		for end := time.Now().Add(time.Minute); l.watch.armed.Load(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the timer runs")
			}
		}
	}
}

// A closed loop takes no sockets, and its goroutines end while an action still runs.
func TestClose(t *testing.T) {
	l := newLoop(t)
	end := make(chan struct{})
	begun := make(chan struct{})
	s := l.socket(func(r *Runner, _ bool) {
		r.Begin()
		close(begun)
		<-end
	})
	s.send(t)
	<-begun
	l.Close()
	l.Close()
	if _, err := l.Add(s.peer, s); err == nil {
		t.Error("a closed loop takes a socket")
	}
	l.Remove(s.fd, s.key)
	close(end)
	s.want(t, false)
}

// Slots are used again, and an event of the socket before finds nothing.
func TestTable(t *testing.T) {
	var tab table[socket]
	add := func(s *socket) Key {
		t.Helper()
		k, ok := tab.add(s)
		if !ok {
			t.Fatal("the table is full")
		}
		return k
	}
	var keys []Key
	for range 600 {
		keys = append(keys, add(new(socket)))
	}
	tab.remove(keys[300])
	tab.remove(keys[300]) // has no effect
	again := new(socket)
	k := add(again)
	if k.slot != keys[300].slot || tab.get(keys[300]) != nil || tab.get(k) != again || tab.get(keys[299]) == nil {
		t.Errorf("%v after %v", k, keys[300])
	}
	if other := add(new(socket)); other.slot == k.slot {
		t.Error("a slot is used twice")
	}
	tab.used = maxSockets
	if k, ok := tab.add(again); ok {
		t.Errorf("%v is beyond the table", k)
	}
	tab.remove(keys[0])
	if k := add(again); k.slot != keys[0].slot || tab.get(k) != again {
		t.Errorf("%v, want the slot of %v", k, keys[0])
	}
}
