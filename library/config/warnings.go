package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Warnings returns a line for each setting that is valid but risky.
func (c *Config) Warnings() []string {
	var w []string
	a := &c.App
	if n := len(c.foreign); n > 0 {
		w = append(w, fmt.Sprintf("the environment has %d service links of Kubernetes, which are not settings and are ignored: %s", n, strings.Join(c.foreign, ", ")))
	}
	if !a.Auth.Check {
		w = append(w, "auth.check is off: everybody may connect")
	}
	if a.Auth.Accept3DES {
		w = append(w, "auth.accept_3des is on, for the user types "+strings.Join(a.Auth.Types3DES, ", ")+" (auth.types_3des): such tokens are not authenticated, and anyone who holds some can forge tokens of these types; turn it off when all your back ends issue w1 tokens")
	}
	if a.Auth.Lifetime == 0 {
		w = append(w, "auth.lifetime is 0: tokens never expire")
	}
	if slices.Contains(a.Origins, "*") {
		w = append(w, "origins holds *: any page may connect with a token it has")
	}
	if g := &a.Gateway; g.Enabled && g.SecretKey == "" {
		w = append(w, "gateway.secret_key is empty: every process that reaches gateway.start_port may send to all clients")
	}
	w = append(w, a.SocketIO.warnings()...)
	if a.Limits.MessageRate == 0 {
		w = append(w, "limits.message_rate is 0: one client may send as fast as it can")
	}
	if a.Limits.MaxConnections == 0 {
		w = append(w, "limits.max_connections is 0: only the system's descriptors and memory limit the number of clients")
	}
	if a.Limits.RefusedRate == 0 {
		w = append(w, "limits.refused_rate is 0: refused handshakes are answered in full at any rate")
	}
	if c.Cache.Master.TLSSkipVerify {
		w = append(w, "cache.master.tls_skip_verify is on: anyone between this server and Redis can read and change everything")
	}
	for _, p := range a.TrustedProxies {
		if prefix, err := netip.ParsePrefix(p); err == nil && prefix.Bits() == 0 {
			w = append(w, "trusted_proxies holds "+p+": every client can claim any address")
		}
	}
	return w
}
