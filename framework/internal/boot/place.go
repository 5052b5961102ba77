package boot

import (
	"net"
	"os"
	"path/filepath"
	"time"

	"wsframe/library/config"
)

// nodeID names this server in the store: the same for all its workers, other than that of other servers.
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

// address is where others reach the outside port, as far as this machine knows.
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

// machine is the address by which this machine reaches Redis, where there is one beside it: "" = not known. Nothing is sent.
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
