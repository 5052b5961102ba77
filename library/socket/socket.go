// Package socket has what more than one port of the server needs of its sockets and package net lacks:
// listeners for TCP_USER_TIMEOUT, listeners that can be paused, closing without a reset, descriptors
// that come over a Unix socket, and the question whether a host is this machine. It knows nothing of
// what the ports serve.
package socket

import (
	"context"
	"io"
	"net"
	"strings"
	"time"
)

// Listen opens a TCP listener without MPTCP, since sockets of that refuse TCP_USER_TIMEOUT.
func Listen(ctx context.Context, address string) (*net.TCPListener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

// IsLoopback tells whether a host, with or without a port, is this machine itself.
func IsLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// LingerTime is how long a peer has to take the last words to it. A caller of Linger sets that deadline.
const LingerTime = time.Second

const lingerBytes = 64 << 10

// HalfCloser is a connection whose directions close one by one.
type HalfCloser interface {
	io.Reader
	CloseWrite() error
}

// Linger ends the sending direction and discards what arrives, until the peer closes, 64 KiB have come
// or the read deadline is over. Who closes without it while bytes are unread resets the connection,
// and the peer may lose what was sent last.
func Linger(c HalfCloser) {
	if c.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, lingerBytes)
	}
}
