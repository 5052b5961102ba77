package accept

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// unsentTimeout is how long the kernel waits for an acknowledgement before it ends the connection
// (TCP_USER_TIMEOUT, RFC 5482).
const unsentTimeout = 30 * time.Second

// maxUnsent is how many bytes the kernel takes for a connection that it cannot send yet
// (TCP_NOTSENT_LOWAT). By default it takes megabytes, which an outbox could no longer drop.
const maxUnsent = 128 << 10

// prepareListener sets the options that accepted sockets inherit, which saves a call for each.
func prepareListener(ln net.Listener) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// An MPTCP listener refuses the first option. Pings notice dead peers without it.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unsentTimeout.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	})
}
