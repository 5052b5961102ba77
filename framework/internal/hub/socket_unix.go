//go:build unix

package hub

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is an accepted TCP connection. The runtime's poller waits for its bytes, and writes do not
// block.
//
// Writes use fd directly. The descriptor is closed only under Conn.mu, the lock under which
// tryWrite runs, so its number cannot belong to another file.
type socket struct {
	nc     Stream
	raw    syscall.RawConn
	fd     int
	shut   bool
	woken  bool // the reader must end
	cutOff bool // no more bytes are written

	// The result of the last read, owned by the reader.
	readable func(fd uintptr) bool
	got      *[]byte
	n        int
	err      error
}

func (s *socket) init(nc Stream) (err error) {
	s.nc = nc
	if s.raw, err = nc.SyscallConn(); err != nil {
		return err
	}
	return s.raw.Control(func(fd uintptr) { s.fd = int(fd) })
}

// tryRead is the poller's callback. It returns false where no bytes have arrived, and keeps a
// buffer only if they have.
func (s *socket) tryRead(fd uintptr) bool {
	buf := readPool.Get().(*[]byte)
	for {
		s.n, s.err = receiveNow(int(fd), *buf)
		if s.err != syscall.EINTR {
			break
		}
	}
	if s.err == syscall.EAGAIN {
		readPool.Put(buf)
		return false
	}
	s.got = buf
	return true
}

// read waits for bytes and returns them in a pooled buffer, which the caller returns to readPool.
func (s *socket) read() ([]byte, *[]byte, error) {
	s.got = nil
	if s.readable == nil { // an event loop never waits here
		s.readable = s.tryRead
	}
	if err := s.raw.Read(s.readable); err != nil {
		return nil, nil, err
	}
	return s.result()
}

// result returns what tryRead has read.
func (s *socket) result() ([]byte, *[]byte, error) {
	buf := s.got
	s.got = nil
	if s.err != nil || s.n <= 0 {
		readPool.Put(buf)
		if s.err == nil {
			return nil, nil, io.EOF
		}
		return nil, nil, os.NewSyscallError("read", s.err)
	}
	return (*buf)[:s.n], buf, nil
}

// readsNow reports whether readNow works on this system.
const readsNow = true

// readNow returns what has arrived, or nil. Conn.mu is held, and the reader runs an action.
func (s *socket) readNow() ([]byte, *[]byte, error) {
	if s.shut {
		return nil, nil, net.ErrClosed
	}
	s.got = nil
	if !s.tryRead(uintptr(s.fd)) {
		return nil, nil, nil
	}
	return s.result()
}

// receive returns what has arrived, or nil. It belongs to the owner of the connection's turn.
func (s *socket) receive() ([]byte, *[]byte, error) {
	s.got = nil
	if !s.tryRead(uintptr(s.fd)) {
		return nil, nil, nil
	}
	return s.result()
}

// tryWrite writes as many bytes as the kernel accepts at once. Conn.mu is held.
func (s *socket) tryWrite(b []byte) (int, error) {
	if s.shut {
		return 0, net.ErrClosed
	}
	for {
		n, err := sendNow(s.fd, b)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, err
		}
		return n, nil
	}
}

func (s *socket) closeWrite() error {
	var inner error
	err := s.raw.Control(func(fd uintptr) { inner = syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	return errors.Join(err, inner)
}

func (s *socket) descriptor() int { return s.fd }

// leavePoller takes the socket out of the runtime's poller, which would wake a thread for each of
// its events: an event loop waits for it. Conn.mu is held, and no writer runs.
func (s *socket) leavePoller() {
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return // no descriptor is free: the socket stays, which costs time only
	}
	_ = s.nc.Close() // the socket lives on by the other descriptor
	s.nc, s.raw, s.fd = nil, nil, fd
}

// pollable brings the socket back into the runtime's poller, for good, since a goroutine is about
// to wait for it. Conn.mu is held.
func (s *socket) pollable() {
	if s.nc != nil || s.shut {
		return
	}
	file := os.NewFile(uintptr(s.fd), "socket")
	s.nc = file
	s.raw, _ = file.SyscallConn() // fails for a nil file only
}

func (s *socket) closeFile() {
	// Nothing can be done about an error here.
	if s.nc != nil {
		_ = s.nc.Close()
		return
	}
	_ = unix.Close(s.fd)
}
