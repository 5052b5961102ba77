package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// silence is the time without a frame after which the clients report an error.
const silence = 30 * time.Second

// descriptors raises the limit of open files for this process and its children, and returns the
// limit.
func descriptors(want int) (got int) {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	for _, hard := range []uint64{max(l.Max, uint64(want)), l.Max} { // only root can raise the hard limit
		more := syscall.Rlimit{Cur: hard, Max: hard}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &more) == nil {
			return int(hard)
		}
	}
	return int(l.Cur)
}

// client is a connection that counts text frames and answers pings.
type client struct {
	fd     int
	frames int // text frames so far
	skip   int // remaining bytes of a frame
	text   bool
	head   [10]byte
	n      int       // bytes in head
	asked  []request // requests without a reply, oldest first
}

// take counts the frames that end in b.
func (c *client) take(b []byte) error {
	for len(b) > 0 {
		if c.skip > 0 {
			n := min(c.skip, len(b))
			if c.skip -= n; c.skip == 0 && c.text {
				c.frames++
			}
			b = b[n:]
			continue
		}
		c.head[c.n] = b[0]
		c.n++
		b = b[1:]
		need := 2
		if c.n >= 2 {
			need += map[byte]int{126: 2, 127: 8}[c.head[1]]
		}
		if c.n < need {
			continue
		}
		switch {
		case need == 2:
			c.skip = int(c.head[1])
		case need == 4:
			c.skip = int(binary.BigEndian.Uint16(c.head[2:]))
		default:
			c.skip = int(binary.BigEndian.Uint64(c.head[2:]))
		}
		switch kind := c.head[0]; {
		case kind == 0x88:
			return fmt.Errorf("closed by the server: % x", b)
		case kind != 0x81 && kind != 0x89 && kind != 0x8a:
			return fmt.Errorf("a frame that begins with %#x", kind)
		}
		c.text, c.n = c.head[0] == 0x81 && c.skip > 0, 0
		if c.head[0] == 0x89 {
			if err := c.write([]byte{0x8a, 0x80, 0, 0, 0, 0}); err != nil {
				return err
			}
		}
	}
	return nil
}

// listeners holds all clients of a process.
type listeners struct {
	places []string
	list   []client
	poll   int
	events [1024]syscall.EpollEvent
	buf    [64 << 10]byte
}

// clients runs the process of a crowd. Between the commands, pings are answered.
func clients(in io.Reader, out io.Writer) error {
	l := &listeners{poll: -1}
	lines := make(chan string, 1024)
	go func() {
		defer close(lines)
		for in := bufio.NewReader(in); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return // the bench has ended
			}
			lines <- line
		}
	}()
	for {
		line, ok := "", false
		for waiting := true; waiting; {
			select {
			case line, ok = <-lines:
				waiting = false
			default:
				if err := l.idle(20 * time.Millisecond); err != nil {
					return err
				}
			}
		}
		if !ok {
			return nil
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		answer, err := "", error(nil)
		switch verb {
		case "at":
			l.places = append(l.places, rest)
			continue
		case "open":
			err = l.open()
		case "here": // nothing was closed, or the process would have ended
		case "ask":
			err = l.send(l.list, rest)
			if err == nil {
				err = l.wait(l.list, 1)
			}
		case "first":
			err = l.send(l.list[:1], rest)
			if err == nil {
				err = l.wait(l.list[:1], 1)
			}
		case "pace":
			answer, err = l.pace(rest)
		case "flood":
			answer, err = l.flood(rest)
		case "run":
			number, text, _ := strings.Cut(rest, " ")
			var n int
			if n, err = strconv.Atoi(number); err != nil {
				break
			}
			begun := time.Now()
			if err = l.send(l.list[:1], text); err == nil {
				err = l.wait(l.list, n)
			}
			answer = strconv.FormatInt(time.Since(begun).Microseconds(), 10)
		}
		if err != nil {
			_, err = fmt.Fprintln(out, "error", err)
		} else {
			_, err = fmt.Fprintln(out, "ok", answer)
		}
		if err != nil {
			return err
		}
	}
}

func (l *listeners) open() (err error) {
	if l.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	l.list = make([]client, len(l.places))
	failed := make(chan error, len(l.places))
	gate := make(chan struct{}, 32)
	var wg sync.WaitGroup
	for i, place := range l.places {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if err := l.list[i].connect(place); err != nil {
				failed <- fmt.Errorf("client %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	for i := range l.list {
		e := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
		if err := syscall.EpollCtl(l.poll, syscall.EPOLL_CTL_ADD, l.list[i].fd, &e); err != nil {
			return err
		}
	}
	return nil
}

// connect makes a handshake with a blocking socket, without Go's poller.
func (c *client) connect(place string) error {
	address, path, _ := strings.Cut(place, " ")
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if c.fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := syscall.Connect(c.fd, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}); err != nil {
		return err
	}
	if err := syscall.SetsockoptTimeval(c.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: int64(silence / time.Second)}); err != nil {
		return err
	}
	if err := c.write([]byte(handshake(path))); err != nil {
		return err
	}
	var b []byte
	part := make([]byte, 1024)
	for {
		n, err := syscall.Read(c.fd, part)
		if errors.Is(err, syscall.EINTR) {
			continue // a read with a time limit can be interrupted by signals of Go's scheduler
		}
		if err != nil || n == 0 {
			return fmt.Errorf("no answer to the handshake: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
		b = append(b, part[:n]...)
		if head, rest, ok := bytes.Cut(b, []byte("\r\n\r\n")); ok {
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
				return fmt.Errorf("handshake: %.40q", head)
			}
			return errors.Join(c.take(rest), syscall.SetNonblock(c.fd, true))
		}
	}
}

func (c *client) write(b []byte) error {
	n, err := syscall.Write(c.fd, b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

func (l *listeners) send(to []client, text string) error {
	b := masked(text)
	for i := range l.list {
		l.list[i].frames = 0
	}
	for i := range to {
		if err := to[i].write(b); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	return nil
}

// wait reads until each client of a list has received a number of frames. More frames are an error.
func (l *listeners) wait(list []client, want int) error {
	missing := len(list)
	for missing > 0 {
		n, err := l.read(silence, func(i, before int) error {
			c := &l.list[i]
			if i >= len(list) {
				return nil
			}
			if c.frames > want {
				return fmt.Errorf("client %d has %d frames, more than %d", i, c.frames, want)
			}
			if before < want && c.frames == want {
				missing--
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%d of %d clients do not have their %d frames", missing, len(list), want)
		}
	}
	return nil
}

// idle answers pings for a while.
func (l *listeners) idle(d time.Duration) error {
	if l.poll < 0 {
		time.Sleep(d)
		return nil
	}
	_, err := l.read(d, func(int, int) error { return nil })
	return err
}

// read waits for events, at most for d, and reads once from each readable client. Each is called
// with a client's index and its number of frames before. The result is the number of events.
func (l *listeners) read(d time.Duration, each func(i, before int) error) (int, error) {
	n, err := pollWait(l.poll, l.events[:], d)
	if errors.Is(err, syscall.EINTR) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range l.events[:n] {
		c := &l.list[e.Fd]
		n, err := syscall.Read(c.fd, l.buf[:])
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return 0, fmt.Errorf("client %d ended after %d frames: %w", e.Fd, c.frames, errors.Join(err, io.EOF))
		}
		before := c.frames
		if err := c.take(l.buf[:n]); err != nil {
			return 0, fmt.Errorf("client %d after %d frames: %w", e.Fd, c.frames, err)
		}
		if err := each(int(e.Fd), before); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// pollWait is epoll_pwait2, whose timeout is finer than a millisecond. An early return costs nothing
// here, so older kernels get epoll_wait without waiting for less than one.
func pollWait(poll int, events []syscall.EpollEvent, d time.Duration) (int, error) {
	const epollPwait2 = 441
	ts := syscall.NsecToTimespec(int64(max(d, 0)))
	n, _, errno := syscall.Syscall6(epollPwait2, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno == syscall.ENOSYS {
		return syscall.EpollWait(poll, events, int(d/time.Millisecond))
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
