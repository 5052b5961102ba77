//go:build !unix

package hub

import (
	"errors"
	"net"
)

// socket is the portable form, for development. Each read holds a buffer, and every write is done
// by the writer goroutine.
type socket struct {
	nc     Stream
	shut   bool
	woken  bool // the reader must end
	cutOff bool // no more bytes are written
}

func (s *socket) init(nc Stream) error { s.nc = nc; return nil }

func (s *socket) read() ([]byte, *[]byte, error) {
	buf := readPool.Get().(*[]byte)
	n, err := s.nc.Read(*buf)
	if n == 0 && err != nil {
		readPool.Put(buf)
		return nil, nil, err
	}
	return (*buf)[:n], buf, nil
}

func (s *socket) tryWrite([]byte) (int, error) {
	if s.shut {
		return 0, net.ErrClosed
	}
	return 0, nil
}

func (s *socket) closeFile() { _ = s.nc.Close() } // nothing can be done about an error here

// pollable is for systems with event loops.
func (s *socket) pollable() {}

func (s *socket) leavePoller() {}

func (s *socket) closeWrite() error {
	if tcp, ok := s.nc.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return errors.ErrUnsupported
}

// readsNow reports whether readNow works on this system.
const readsNow = false

// readNow returns nothing, since a read would wait.
func (s *socket) readNow() ([]byte, *[]byte, error) { return nil, nil, nil }

// descriptor is for systems with event loops.
func (s *socket) descriptor() int { return -1 }

// receive is for systems with event loops.
func (s *socket) receive() ([]byte, *[]byte, error) { return nil, nil, errors.ErrUnsupported }

func (s *socket) hungUp() bool { return false }
