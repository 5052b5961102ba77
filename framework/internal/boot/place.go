package boot

import (
	"net"
	"os"
	"path/filepath"
	"time"

	"wsframe/library/config"
)

// nodeID names this server in the store. It is the same for all workers of the server, and unique
// among servers.
func nodeID(cfg *config.Config) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	dir, err := filepath.Abs(cfg.App.Runtime.Dir)
	if err != nil {
		dir = cfg.App.Runtime.Dir
	}
	return host + ":" + dir
}

// address returns how others reach the outside port, as far as this machine knows.
func address(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return ""
		}
	}
	return net.JoinHostPort(host, port)
}

// machine returns the address of this machine on the way to Redis, or "" where that is unknown.
// Nothing is sent.
func machine(cfg *config.Config) string {
	if cfg.Cache.Master.Driver == "embedded" || len(cfg.Cache.Master.Addrs) == 0 {
		return ""
	}
	c, err := net.DialTimeout("udp", cfg.Cache.Master.Addrs[0], time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	host, _, _ := net.SplitHostPort(c.LocalAddr().String())
	return host
}
