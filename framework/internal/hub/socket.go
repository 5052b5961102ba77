package hub

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// readSize is one read from a socket at most. The buffers are pooled and taken only when bytes have arrived, so an idle
// connection holds none.
const readSize = 16 << 10

var readPool = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// Stream is what a connection is read from and written to: an accepted *net.TCPConn, or the *os.File of a descriptor that came from
// another process, which costs less to make.
type Stream interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

// armWrite bounds the next blocking write.
func (s *socket) armWrite(timeout time.Duration) error {
	return s.nc.SetWriteDeadline(time.Now().Add(timeout))
}

// freeze makes reader and writer leave their waits without an end. Conn.mu is held.
func (s *socket) freeze() { _ = s.nc.SetDeadline(time.Unix(1, 0)) }

// thaw undoes freeze, unless the connection is to end. Conn.mu is held.
func (s *socket) thaw() {
	if !s.woken {
		_ = s.nc.SetDeadline(time.Time{})
	}
}

// wake makes the reader leave its wait. Conn.mu is held.
func (s *socket) wake() {
	s.woken = true
	_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed, which wakes the reader too
}

// cut ends every wait on the socket, in both directions.
func (s *socket) cut() {
	s.woken, s.cutOff = true, true
	_ = s.nc.SetDeadline(time.Unix(1, 0))
}

// drain half-closes and discards what still arrives, until the peer closes or d has passed.
func (s *socket) drain(d time.Duration) {
	if s.closeWrite() != nil || s.nc.SetReadDeadline(time.Now().Add(d)) != nil {
		return
	}
	for {
		_, buf, err := s.read()
		if err != nil {
			return
		}
		readPool.Put(buf)
	}
}

func (s *socket) close() {
	if !s.shut {
		s.shut = true
		_ = s.nc.Close() // nothing can be done about an error here
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
