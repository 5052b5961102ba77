//go:build !linux

package accept

import "net"

// prepareListener sets no option here, since pings notice dead peers.
func prepareListener(net.Listener) {}
