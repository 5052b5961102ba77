package hub

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// writeBuffers writes all of bufs until the deadline of armWrite, in few calls. net.Buffers does so
// for a *net.TCPConn only.
func (s *socket) writeBuffers(bufs net.Buffers) (written int64, err error) {
	for len(bufs) > 0 && err == nil {
		n := 0
		var fault error
		err = s.raw.Write(func(fd uintptr) bool {
			for {
				n, fault = unix.Writev(int(fd), bufs)
				if fault != syscall.EINTR {
					return fault != syscall.EAGAIN
				}
			}
		})
		if err == nil && fault != nil {
			err = os.NewSyscallError("writev", fault)
		}
		n = max(n, 0)
		written += int64(n)
		for len(bufs) > 0 && n >= len(bufs[0]) {
			n -= len(bufs[0])
			bufs = bufs[1:]
		}
		if n > 0 {
			bufs[0] = bufs[0][n:]
		}
	}
	return written, err
}
