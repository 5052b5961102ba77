package hub

import (
	"errors"
	"net"
	"os"
	"time"
)

// writev writes all of bufs, waiting at most timeout for any progress.
func (s *socket) writev(bufs net.Buffers, timeout time.Duration) error {
	for {
		if err := s.nc.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		n, err := bufs.WriteTo(s.nc)
		if err != nil && n > 0 && isTimeout(err) {
			continue
		}
		return err
	}
}

func (s *socket) writeAll(b []byte, timeout time.Duration) error {
	return s.writev(net.Buffers{b}, timeout)
}

// wake makes the reader leave its wait. Conn.mu is held.
func (s *socket) wake() {
	s.woken = true
	_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed, which wakes the reader too
}

// cut ends every wait on the socket, in both directions.
func (s *socket) cut() {
	s.woken = true
	_ = s.nc.SetDeadline(time.Unix(1, 0))
}

// drain half-closes and discards what still arrives, until the peer closes or d has passed.
func (s *socket) drain(d time.Duration) {
	if s.nc.CloseWrite() != nil || s.nc.SetReadDeadline(time.Now().Add(d)) != nil {
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
