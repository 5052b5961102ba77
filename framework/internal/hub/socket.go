package hub

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// readSize is the size of a read buffer. Buffers are pooled, and used only once bytes have arrived,
// so an idle connection holds none.
const readSize = 16 << 10

var readPool = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// Stream is the socket of a connection: an accepted *net.TCPConn, or the *os.File of a descriptor
// from another process, which costs less to make.
type Stream interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

// armWrite sets the deadline of the next blocking write.
func (s *socket) armWrite(timeout time.Duration) error {
	return s.nc.SetWriteDeadline(time.Now().Add(timeout))
}

// freeze interrupts the waits of reader and writer, without an end of the connection. Conn.mu is
// held.
func (s *socket) freeze() {
	if s.nc != nil {
		_ = s.nc.SetDeadline(time.Unix(1, 0))
	}
}

// thaw undoes freeze, unless the connection ends. Conn.mu is held.
func (s *socket) thaw() {
	if !s.woken && s.nc != nil {
		_ = s.nc.SetDeadline(time.Time{})
	}
}

// wake interrupts the reader's wait, for the close path. Conn.mu is held.
func (s *socket) wake() {
	s.woken = true
	if s.nc != nil {
		_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // fails on a closed socket only
	}
}

// cut ends every wait on the socket in both directions. Conn.mu is held.
func (s *socket) cut() {
	s.woken, s.cutOff = true, true
	if s.nc != nil {
		_ = s.nc.SetDeadline(time.Unix(1, 0))
	}
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
		s.closeFile()
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
