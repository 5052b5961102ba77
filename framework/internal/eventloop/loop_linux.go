package eventloop

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

// Loop calls a function for each of its sockets that has bytes or has ended.
//
//	sockets ─▶ epoll of the loop ─▶ the runtime's poller ─▶ run ─▶ batch ─▶ Ready
//
// The loop's epoll is itself a pollable file. Its goroutine waits for that file through the
// runtime's poller, as others wait for a socket, so it blocks no thread and never delays the
// garbage collector. In between it calls Ready, which reads and may run actions of the application.
//
// An action that turns out to be slow would stop all sockets. Therefore ready encloses what may be
// slow by Begin and End, and a watchdog looks every WatchTime which of these turns runs. If it sees
// the same turn twice, it takes the loop away from its goroutine by one compare-and-swap of hold,
// and a new goroutine goes on with the next event. The goroutine that has lost the loop notices
// that in End and belongs to its socket alone.
//
// All methods are safe for concurrent use.
type Loop[S any] struct {
	calls Calls[S]
	core
	table table[S]

	// Owned by the goroutine that has the loop.
	events  [128]unix.EpollEvent
	next, n int // events[next:n] are not handled yet
	at      *S  // whose event is being handled
}

// core is the part of a loop that does not depend on the type of its sockets.
type core struct {
	hold    atomic.Uint64 // number of the turn that runs; 0 = none
	turns   uint64        // numbers given; owned by the goroutine that has the loop
	batches atomic.Uint64
	watch   watchdog

	mu     sync.Mutex
	ep     int
	file   *os.File // for which the goroutine waits that has the loop
	closed bool
}

// New starts a loop.
func New[S any](calls Calls[S]) (*Loop[S], error) {
	l := &Loop[S]{calls: calls}
	var err error
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	_ = unix.SetNonblock(l.ep, true) // os.NewFile uses the poller only then
	if err = l.watch.start(&l.core, l.takeOver); err == nil {
		err = l.launch()
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close ends the loop. It does not wait: a turn that runs goes on, and is the last.
func (l *Loop[S]) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	interrupt(l.file)
	interrupt(l.watch.file)
	_ = unix.Close(l.ep)
}

// interrupt ends the wait for a file. Its goroutine closes it; os.File.Close here would wait for
// that.
func interrupt(file *os.File) {
	if file != nil {
		_ = file.SetReadDeadline(time.Unix(1, 0))
	}
}

// launch has a new goroutine run the loop. It waits for a file of its own, since the goroutine that
// has lost the loop may still hold the lock of the old one.
func (l *Loop[S]) launch() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
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
	l.file = file
	go l.run(file, raw)
	return nil
}

// relaunch tries until the loop runs again: the process may have no free descriptor.
func (l *Loop[S]) relaunch() {
	if err := l.launch(); err != nil {
		l.calls.Fault(err)
		time.AfterFunc(time.Second, l.relaunch)
	}
}

// takeOver has a new goroutine run the loop. The watchdog calls it when it has taken the loop away.
func (l *Loop[S]) takeOver() {
	s := l.at
	l.relaunch()
	l.calls.Overran(s)
}

// run is the loop, until it is closed or taken away.
func (l *Loop[S]) run(file *os.File, raw syscall.RawConn) {
	r := &Runner{core: &l.core}
	over := false
	defer func() {
		_ = file.Close()
		if !over { // an action has ended this goroutine
			if r.end(); !r.lost {
				l.relaunch()
			}
		}
	}()
	_ = raw.Read(func(ep uintptr) bool { return l.batch(r, ep) }) // fails when the loop is closed
	over = true
}

// batch handles all events there are. true: this goroutine has lost the loop.
func (l *Loop[S]) batch(r *Runner, ep uintptr) bool {
	l.batches.Add(1)
	for {
		if l.next == l.n {
			if l.next, l.n = 0, l.poll(ep); l.n == 0 {
				return false
			}
		}
		full := l.n == len(l.events)
		for l.next < l.n {
			e := &l.events[l.next]
			l.next++
			s := l.table.get(Key{e.Fd, e.Pad})
			if s == nil {
				continue
			}
			l.at = s
			l.calls.Ready(s, r, e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
			if r.end(); r.lost {
				return true
			}
		}
		if !full {
			l.next, l.n = 0, 0
			return false
		}
	}
}

// poll returns the number of events there are. A raw system call does not wake the runtime's
// monitor; it is allowed since the call does not wait.
func (l *Loop[S]) poll(ep uintptr) int {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, ep, uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0
		}
	}
}

// edge is unix.EPOLLET, which is negative.
const edge = 1 << 31

// Add has the loop watch a socket, for which Ready is called with s. After an error it does not.
func (l *Loop[S]) Add(fd int, s *S) (Key, error) {
	k, ok := l.table.add(s)
	if !ok {
		return Key{}, fmt.Errorf("watch a socket: the loop has %d already", maxSockets)
	}
	err := l.control(unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: k.slot, Pad: k.generation})
	if err != nil {
		l.table.remove(k)
		return Key{}, fmt.Errorf("watch a socket: %w", err)
	}
	return k, nil
}

// Remove has the loop forget a socket. It comes before the descriptor is closed, since the socket
// may live on in another process and an epoll watches sockets rather than descriptors.
func (l *Loop[S]) Remove(fd int, k Key) {
	_ = l.control(unix.EPOLL_CTL_DEL, fd, nil) // fails for a socket that is closed
	l.table.remove(k)
}

func (l *Loop[S]) control(op, fd int, e *unix.EpollEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return os.ErrClosed
	}
	return unix.EpollCtl(l.ep, op, fd, e)
}

// Runner is the goroutine that runs a loop, until that is taken away. Only this goroutine uses it.
type Runner struct {
	core *core
	turn uint64 // the turn that runs; 0 = none
	lost bool
}

// Begin starts a turn, in which the loop may be taken away. The turn ends with the call of Ready;
// another Begin within it has no effect.
func (r *Runner) Begin() {
	if r.turn == 0 {
		r.core.turns++
		r.turn = r.core.turns
		r.core.hold.Store(r.turn)
		r.core.watch.arm()
	}
}

// end ends a turn.
func (r *Runner) end() {
	if r.turn != 0 {
		r.lost = !r.core.hold.CompareAndSwap(r.turn, 0)
		r.turn = 0
	}
}

// Lost reports whether the loop was taken away in this turn.
func (r *Runner) Lost() bool { return r.turn != 0 && r.core.hold.Load() != r.turn }

// watchdog looks at the turns of a loop. It waits for a timerfd through the runtime's poller: a Go
// timer would wake that poller each time it is set.
type watchdog struct {
	core     *core
	takeOver func()
	file     *os.File
	fd       int
	armed    atomic.Bool

	// Owned by look.
	seen, batches uint64
	idle          int
}

// idleTicks is how many ticks without a batch stop the timer.
const idleTicks = 20

func (w *watchdog) start(c *core, takeOver func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make a timer: %w", err)
	}
	w.core, w.takeOver, w.fd = c, takeOver, fd
	w.file = os.NewFile(uintptr(fd), "timer")
	raw, err := w.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for a timer: %w", err)
	}
	go func() {
		defer func() { _ = w.file.Close() }()
		_ = raw.Read(func(fd uintptr) bool { // fails when the loop is closed
			var b [8]byte
			if n, _ := unix.Read(int(fd), b[:]); n == len(b) {
				w.look()
			}
			return false
		})
	}()
	return nil
}

// arm starts the timer unless it runs.
func (w *watchdog) arm() {
	if !w.armed.Load() && w.armed.CompareAndSwap(false, true) {
		w.set(WatchTime)
	}
}

// set sets the timer's interval; 0 stops it.
func (w *watchdog) set(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	w.core.mu.Lock()
	defer w.core.mu.Unlock()
	if !w.core.closed {
		_ = unix.TimerfdSettime(w.fd, 0, &unix.ItimerSpec{Interval: t, Value: t}, nil) // the arguments are valid
	}
}

// look is one tick.
func (w *watchdog) look() {
	turn := w.core.hold.Load()
	if turn != 0 && turn == w.seen && w.core.hold.CompareAndSwap(turn, 0) {
		w.takeOver()
	}
	w.seen = turn
	w.idle++
	if at := w.core.batches.Load(); at != w.batches || turn != 0 {
		w.batches, w.idle = at, 0
	}
	if w.idle < idleTicks {
		return
	}
	w.idle = 0
	w.set(0)
	w.armed.Store(false)
	if w.core.hold.Load() != 0 { // a turn that began before armed was false
		w.arm()
	}
}

// table finds what belongs to an event. A generation tells it from the next in the same slot.
type table[S any] struct {
	mu     sync.Mutex
	free   []int32
	used   int32
	last   int32 // generation
	chunks [maxSockets / 256]atomic.Pointer[[256]slot[S]]
}

// maxSockets is how many sockets a loop watches at most.
const maxSockets = 2 << 20

type slot[S any] struct {
	s          atomic.Pointer[S]
	generation atomic.Int32
}

func (t *table[S]) at(i int32) *slot[S] { return &t.chunks[i>>8].Load()[i&255] }

// add returns false where the table is full.
func (t *table[S]) add(s *S) (k Key, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var i int32
	switch n := len(t.free); {
	case n > 0:
		i, t.free = t.free[n-1], t.free[:n-1]
	case t.used == maxSockets:
		return Key{}, false
	default:
		i = t.used
		t.used++
		if t.chunks[i>>8].Load() == nil {
			t.chunks[i>>8].Store(new([256]slot[S]))
		}
	}
	t.last++
	at := t.at(i)
	at.generation.Store(t.last)
	at.s.Store(s)
	return Key{i, t.last}, true
}

func (t *table[S]) remove(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.at(k.slot)
	if at.generation.Load() != k.generation {
		return
	}
	at.s.Store(nil)
	at.generation.Store(0)
	t.free = append(t.free, k.slot)
}

// get returns nil for an event of a socket that was removed meanwhile.
func (t *table[S]) get(k Key) *S {
	at := t.at(k.slot)
	s := at.s.Load()
	if at.generation.Load() != k.generation {
		return nil
	}
	return s
}
