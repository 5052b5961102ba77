// Package socket adds to package net what several ports of the server need: listeners that allow
// TCP_USER_TIMEOUT, listeners that can be paused, closing without a reset, descriptors received
// over a Unix socket, and the check whether a host is this machine. It knows nothing of what the
// ports serve.
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

// IsLoopback reports whether a host, with or without a port, is this machine itself.
func IsLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// LingerTime is the time that a peer gets to read the last bytes. Callers of Linger set that
// deadline.
const LingerTime = time.Second

const lingerBytes = 64 << 10

// HalfCloser is a connection whose directions close one by one.
type HalfCloser interface {
	io.Reader
	CloseWrite() error
}

// Linger closes the sending direction and discards what arrives, until the peer closes, 64 KiB have
// come or the read deadline has passed. A close without it, while bytes are unread, would reset the
// connection, and the peer might lose the last bytes.
func Linger(c HalfCloser) {
	if c.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, lingerBytes)
	}
}
