package hub

import "golang.org/x/sys/unix"

// hungUp reports whether the peer has closed its side or is gone, even before unread bytes. Conn.mu
// is held.
func (s *socket) hungUp() bool {
	if s.shut {
		return true
	}
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}
