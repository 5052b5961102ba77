//go:build unix && !linux

package hub

import "golang.org/x/sys/unix"

// hungUp reports whether the peer is gone, even before unread bytes. Conn.mu is held.
func (s *socket) hungUp() bool {
	if s.shut {
		return true
	}
	p := []unix.PollFd{{Fd: int32(s.fd)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}
