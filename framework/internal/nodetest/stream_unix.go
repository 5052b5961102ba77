//go:build unix

package nodetest

import (
	"errors"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// stream is a pair of descriptors: the hub writes to one by system calls, and the test reads the
// other. Reads of the hub never reach the descriptor, so that testing/synctest sees them wait.
type stream struct {
	ending
	fd, peer int

	reading sync.Mutex
	got     []byte
	closing sync.Once
}

func newStream(t testing.TB) *stream {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		err = errors.Join(unix.SetNonblock(fds[0], true), unix.SetNonblock(fds[1], true))
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	s := &stream{ending: ending{at: make(chan struct{})}, fd: fds[0], peer: fds[1]}
	t.Cleanup(func() { _ = unix.Close(s.peer) })
	return s
}

// written is all that was written so far.
func (s *stream) written() []byte {
	s.reading.Lock()
	defer s.reading.Unlock()
	for buf := make([]byte, 64<<10); ; {
		n, err := unix.Read(s.peer, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return s.got
		}
		s.got = append(s.got, buf[:n]...)
	}
}

func (s *stream) Close() (err error) {
	s.closing.Do(func() { err = unix.Close(s.fd) })
	return err
}

func (s *stream) SyscallConn() (syscall.RawConn, error) { return rawStream{s}, nil }

// rawStream is the stream as a syscall.RawConn.
type rawStream struct{ s *stream }

func (r rawStream) Control(f func(uintptr)) error {
	f(uintptr(r.s.fd))
	return nil
}

func (r rawStream) Read(func(uintptr) bool) error {
	_, err := r.s.Read(nil)
	return err
}

func (r rawStream) Write(f func(uintptr) bool) error {
	for !f(uintptr(r.s.fd)) {
		r.s.written() // the buffer between the two is full
	}
	return nil
}

func (s *stream) Write(b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.Write(s.fd, b[n:])
		switch {
		case err == unix.EAGAIN:
			s.written()
		case err != nil && err != unix.EINTR:
			return n, err
		}
		n += max(m, 0)
	}
	return n, nil
}
