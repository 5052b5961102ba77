package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"
)

// complete fills what depends on other settings.
func (c *Config) complete() {
	a := &c.App
	if a.Protocol.Compat == "mswoole" {
		a.Protocol.ReceiveAck, a.Protocol.EscapeHTML = true, true
		if a.Auth.Key3DES != "" {
			a.Auth.Accept3DES = true
		}
	}
	if d := &c.DB.Master; d.Driver == "sqlite" && d.DSN == "" {
		d.DSN = filepath.Join(a.Runtime.Dir, "wsframe.db")
	}
}

// validate reports everything that is wrong, each with its file and key.
func (c *Config) validate() error {
	var errs []error
	bad := func(file, key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("config/%s.yaml: %s: %s", file, key, fmt.Sprintf(format, args...)))
	}
	a := &c.App
	for key, l := range map[string]Listen{"outside": a.Outside, "manager": {a.Manager.Host, a.Manager.Port}, "push": a.Push} {
		if l.Port < 0 || l.Port > 65535 {
			bad("app", key+".port", "%d is not a port (0-65535)", l.Port)
		}
		if l.Host == "" {
			bad("app", key+".host", "is empty; 0.0.0.0 means all addresses")
		}
	}
	if !loopback(a.Manager.Host) && len(a.Manager.Token) < 16 {
		bad("app", "manager.token", "at least 16 bytes are needed when the manager listens on %s", a.Manager.Host)
	}
	l := &a.Limits
	for key, v := range map[string]int{
		"handshake_bytes": l.HandshakeBytes, "message_bytes": l.MessageBytes, "fragments": l.Fragments, "json_depth": l.JSONDepth,
		"outbox_bytes": l.OutboxBytes, "outbox_messages": l.OutboxMessages,
		"rooms_per_connection": l.RoomsPerConnection, "close_keys_per_connection": l.CloseKeysPerConnection,
	} {
		if v < 1 {
			bad("app", "limits."+key, "%d: must be at least 1", v)
		}
	}
	for key, v := range map[string]int{
		"message_rate": l.MessageRate, "message_burst": l.MessageBurst, "refused_rate": l.RefusedRate,
		"max_connections": l.MaxConnections, "connections_per_ip": l.ConnectionsPerIP,
	} {
		if v < 0 {
			bad("app", "limits."+key, "%d: must be 0 (off) or more", v)
		}
	}
	for key, v := range map[string]time.Duration{
		"limits.handshake_timeout": l.HandshakeTimeout, "limits.message_time": l.MessageTime, "limits.write_timeout": l.WriteTimeout,
		"limits.stop_grace": l.StopGrace, "limits.reload_drain": l.ReloadDrain, "heartbeat.ping": a.Heartbeat.Ping, "heartbeat.idle": a.Heartbeat.Idle,
	} {
		if v < time.Second {
			bad("app", key, "%v: must be at least 1s", v)
		}
	}
	if a.Heartbeat.Idle <= a.Heartbeat.Ping {
		bad("app", "heartbeat.idle", "%v must be longer than heartbeat.ping %v", a.Heartbeat.Idle, a.Heartbeat.Ping)
	}
	if l.RoomFlush < 0 || l.RoomFlush > time.Second {
		bad("app", "limits.room_flush", "%v: must be 0s to 1s", l.RoomFlush)
	}
	if a.Auth.Lifetime < 0 || a.Auth.Skew < 0 {
		bad("app", "auth.lifetime", "must not be negative")
	}
	if a.Auth.Key != "" && len(a.Auth.Key) < 16 {
		bad("app", "auth.key", "at least 16 bytes")
	}
	if a.Auth.Accept3DES && a.Auth.Key3DES == "" {
		bad("app", "auth.key_3des", "is needed for auth.accept_3des")
	}
	if !slices.Contains([]string{"", "mswoole"}, a.Protocol.Compat) {
		bad("app", "protocol.compat", "%q: only mswoole is known", a.Protocol.Compat)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, a.Log.Level) {
		bad("app", "log.level", "%q: debug, info, warn or error", a.Log.Level)
	}
	if a.Log.MaxSizeMB < 1 || a.Log.MaxDays < 1 || a.Log.MaxFiles < 1 {
		bad("app", "log", "max_size_mb, max_days and max_files must be at least 1")
	}
	for _, p := range a.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			if _, err := netip.ParseAddr(p); err != nil {
				bad("app", "trusted_proxies", "%q is neither an address nor a CIDR", p)
			}
		}
	}
	if a.Runtime.Dir == "" {
		bad("app", "runtime.dir", "is empty")
	}
	m := &c.Cache.Master
	if !slices.Contains([]string{"embedded", "redis"}, m.Driver) {
		bad("cache", "master.driver", "%q: embedded or redis", m.Driver)
	}
	if m.Driver == "redis" && len(m.Addrs) == 0 {
		bad("cache", "master.addrs", "is empty")
	}
	for _, addr := range m.Addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil && m.Driver == "redis" {
			bad("cache", "master.addrs", "%q is not host:port", addr)
		}
	}
	if m.Timeout <= 0 {
		bad("cache", "master.timeout", "%v: must be more than 0", m.Timeout)
	}
	d := &c.DB.Master
	if !slices.Contains([]string{"sqlite", "mysql", "postgres"}, d.Driver) {
		bad("db", "master.driver", "%q: sqlite, mysql or postgres", d.Driver)
	}
	if d.DSN == "" {
		bad("db", "master.dsn", "is empty")
	}
	if d.MaxOpen < 1 || d.Timeout <= 0 {
		bad("db", "master", "max_open and timeout must be more than 0")
	}
	slices.SortFunc(errs, func(a, b error) int { // the maps above have no order
		if a.Error() < b.Error() {
			return -1
		}
		return 1
	})
	return errors.Join(errs...)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Warnings are the settings that somebody chose and should know about, a line each.
func (c *Config) Warnings() []string {
	var w []string
	a := &c.App
	if !a.Auth.Check {
		w = append(w, "auth.check is off: everybody may connect")
	}
	if a.Auth.Accept3DES {
		w = append(w, "auth.accept_3des is on: such tokens are not authenticated and can be forged from others; end it when your back ends issue w1 tokens")
	}
	if a.Auth.Lifetime == 0 {
		w = append(w, "auth.lifetime is 0: tokens never expire")
	}
	if slices.Contains(a.Origins, "*") {
		w = append(w, "origins holds *: any page may connect with a token it has")
	}
	if a.Limits.MessageRate == 0 {
		w = append(w, "limits.message_rate is 0: one client may send as fast as it can")
	}
	return w
}
