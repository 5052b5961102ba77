package hub

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Event loops read the connections of a Hub, so a quiet connection has no goroutine, no buffer and
// no gws.Conn. turn.go has the states of a connection and the lock order.
//
//	sockets ─▶ epoll of the loop ─▶ the runtime's poller ─▶ run ─▶ batch ─▶ event
//
// The loop's epoll is itself a pollable file. Its goroutine waits for that file through the runtime's
// poller, as others wait for a socket, so it blocks no thread. It then reads each socket that has bytes,
// and runs actions that are known to be quick. Everything else gets a goroutine of its connection.
//
// An action that turns out to be slow would stop the loop. A watchdog looks at the turn that runs, every
// watchTime. If it sees the same turn twice it takes the loop over by one compare-and-swap of hold and
// runs it in a new goroutine. The goroutine that has lost the loop goes on as its connection's own.
type loop struct {
	hub   *Hub
	ep    int
	table table

	// Owned by the goroutine that runs the loop.
	events  [128]unix.EpollEvent
	next, n int // events[next:n] are not handled yet
	turns   uint64

	hold    atomic.Uint64 // number of the turn whose action runs; 0 = none
	batches atomic.Uint64
	watch   watchdog

	mu     sync.Mutex
	file   *os.File // on which run waits
	closed bool
	ended  sync.WaitGroup
}

// watchTime is how often the watchdog looks: an action holds the loop for twice that at most.
const watchTime = time.Millisecond

// loopCount is the number of loops of a Hub. More of them wake more threads, and cost more CPU a message.
// Where one processor is not enough for all quick actions, more are needed.
const loopCount = 1

// startLoops starts the loops. Without them connections have readers of their own.
func (h *Hub) startLoops() error {
	for range loopCount {
		l := &loop{hub: h}
		if err := l.start(); err != nil {
			l.close()
			return err
		}
		h.loops = append(h.loops, l)
	}
	return nil
}

func (l *loop) start() (err error) {
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	_ = unix.SetNonblock(l.ep, true) // os.NewFile uses the poller only then
	if err := l.watch.start(l); err != nil {
		return err
	}
	return l.launch()
}

// launch runs the loop in a new goroutine, on a file of its own: the goroutine that has lost the loop
// may still hold the lock of the old one.
func (l *loop) launch() error {
	fd, err := unix.FcntlInt(uintptr(l.ep), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate an epoll: %w", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("wait for an epoll: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return file.Close()
	}
	l.file = file
	l.ended.Add(1)
	go l.run(file, raw)
	return nil
}

func (l *loop) close() {
	l.mu.Lock()
	l.closed = true
	if l.file != nil {
		_ = l.file.Close() // ends run's wait
	}
	l.mu.Unlock()
	l.watch.close()
	l.ended.Wait()
	_ = unix.Close(l.ep)
}

// run is the loop, until it is closed or taken over.
func (l *loop) run(file *os.File, raw syscall.RawConn) {
	r := &runner{l: l}
	over := false
	defer func() {
		_ = file.Close()
		if !over && r.exited() { // an action has ended this goroutine
			_ = l.launch()
		}
		l.ended.Done()
	}()
	_ = raw.Read(func(uintptr) bool { return l.batch(r) }) // fails when the loop is closed
	over = true
}

// runner is one goroutine that runs the loop.
type runner struct {
	l    *loop
	turn uint64 // whose action runs, 0 = none
	lost bool   // another goroutine has the loop
}

// begin notes that an action runs.
func (r *runner) begin() {
	r.l.turns++
	r.turn = r.l.turns
	r.l.hold.Store(r.turn)
	r.l.watch.arm()
}

// end reports whether the loop is still this goroutine's after an action.
func (r *runner) end() bool {
	r.lost = !r.l.hold.CompareAndSwap(r.turn, 0)
	r.turn = 0
	return !r.lost
}

// exited reports whether an action has ended the goroutine while it had the loop.
func (r *runner) exited() bool { return !r.lost && (r.turn == 0 || r.end()) }

// takeOver gives the loop to a new goroutine if the turn still holds it.
func (l *loop) takeOver(turn uint64) {
	if l.hold.CompareAndSwap(turn, 0) {
		if err := l.launch(); err != nil {
			l.hub.cfg.Log.Error(err.Error())
			time.AfterFunc(time.Second, func() { l.relaunch() })
		}
	}
}

// relaunch tries again, where descriptors were missing.
func (l *loop) relaunch() {
	if l.launch() != nil {
		time.AfterFunc(time.Second, func() { l.relaunch() })
	}
}

// batch handles all events there are. true: this goroutine has lost the loop.
func (l *loop) batch(r *runner) bool {
	l.batches.Add(1)
	for {
		if l.next == l.n {
			if l.next, l.n = 0, l.wait(); l.n == 0 {
				return false
			}
		}
		full := l.n == len(l.events)
		for l.next < l.n {
			e := &l.events[l.next]
			l.next++
			c := l.table.get(e.Fd, e.Pad)
			if c == nil {
				continue
			}
			ended := e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
			if c.in.event(r, ended); r.lost {
				return true
			}
		}
		if !full {
			l.next, l.n = 0, 0
			return false
		}
	}
}

// wait returns the number of events there are. It does not wait, so it is a raw system call, see
// receiveNow.
func (l *loop) wait() int {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events[0])),
			uintptr(len(l.events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0
		}
	}
}

// attach has the loop watch a connection, whose turn the caller has. Edge-triggered: a connection that is
// served elsewhere costs one event for all that comes.
func (l *loop) attach(c *Conn) error {
	c.in.slot, c.in.generation = l.table.add(c)
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: c.in.slot, Pad: c.in.generation}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, c.sock.fd, &e); err != nil {
		l.table.remove(c.in.slot)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

const edge = 1 << 31 // unix.EPOLLET is negative

// detach undoes attach, before the descriptor is closed: after a move the socket lives on in another
// process, and an epoll watches the socket.
func (l *loop) detach(c *Conn) {
	_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, c.sock.fd, nil) // fails for a socket that is closed
	l.table.remove(c.in.slot)
}

// table finds the connection of an event. A generation tells it from the next one in the same slot.
type table struct {
	mu     sync.Mutex
	free   []int32
	used   int32
	gen    int32
	chunks [1 << 12]atomic.Pointer[[256]slot]
}

type slot struct {
	c   atomic.Pointer[Conn]
	gen atomic.Int32
}

func (t *table) at(i int32) *slot { return &t.chunks[i>>8].Load()[i&255] }

func (t *table) add(c *Conn) (i, gen int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = t.used
		t.used++
		if t.chunks[i>>8].Load() == nil {
			t.chunks[i>>8].Store(new([256]slot))
		}
	}
	t.gen++
	s := t.at(i)
	s.gen.Store(t.gen)
	s.c.Store(c)
	return i, t.gen
}

func (t *table) remove(i int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.at(i)
	s.c.Store(nil)
	s.gen.Store(0)
	t.free = append(t.free, i)
}

// get returns nil for an event of a connection that was removed meanwhile.
func (t *table) get(i, gen int32) *Conn {
	s := t.at(i)
	c := s.c.Load()
	if s.gen.Load() != gen {
		return nil
	}
	return c
}

// watchdog looks at the turns of a loop while actions run. It waits for a timerfd through the runtime's
// poller: a Go timer would wake that poller each time it is set.
type watchdog struct {
	l     *loop
	file  *os.File
	fd    int
	armed atomic.Bool

	seen, at uint64 // owned by look
	idle     int
}

// idleTicks is how many ticks without a batch stop the watchdog's timer.
const idleTicks = 20

func (w *watchdog) start(l *loop) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make a timer: %w", err)
	}
	w.l, w.fd, w.file = l, fd, os.NewFile(uintptr(fd), "timer")
	raw, err := w.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for a timer: %w", err)
	}
	l.ended.Add(1)
	go func() {
		defer l.ended.Done()
		_ = raw.Read(func(fd uintptr) bool { // fails when the watchdog is closed
			var b [8]byte
			if n, _ := unix.Read(int(fd), b[:]); n == len(b) {
				w.look()
			}
			return false
		})
	}()
	return nil
}

func (w *watchdog) close() {
	if w.file != nil {
		_ = w.file.Close()
	}
}

// arm starts the timer unless it runs.
func (w *watchdog) arm() {
	if !w.armed.Load() && w.armed.CompareAndSwap(false, true) {
		w.set(watchTime)
	}
}

func (w *watchdog) set(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.TimerfdSettime(w.fd, 0, &unix.ItimerSpec{Interval: t, Value: t}, nil) // the arguments are valid
}

func (w *watchdog) look() {
	turn := w.l.hold.Load()
	if turn != 0 && turn == w.seen {
		w.l.takeOver(turn)
	}
	w.seen = turn
	at := w.l.batches.Load()
	if w.idle++; at != w.at || turn != 0 {
		w.at, w.idle = at, 0
	}
	if w.idle < idleTicks {
		return
	}
	w.idle = 0
	w.set(0)
	w.armed.Store(false)
	if w.l.hold.Load() != 0 { // a turn that began before armed was false
		w.arm()
	}
}
