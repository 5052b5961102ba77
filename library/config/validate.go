package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"wsframe/library/db"
	"wsframe/library/socket"
)

// max3DES is the longest 3DES key in bytes.
const max3DES = 24

// complete fills what depends on other settings; fromEnv tells whether the environment has set a key of app.
func (c *Config) complete(fromEnv func(key string) bool) {
	a := &c.App
	// A short idle time alone is no contradiction: the pings follow it. Connections are looked at once a second.
	if h := &a.Heartbeat; h.Idle <= h.Ping && !fromEnv("heartbeat.ping") && (fromEnv("heartbeat.idle") || h.Ping == defaults().App.Heartbeat.Ping) {
		h.Ping = max(h.Idle/3, time.Second)
	}
	compat := a.Protocol.Compat == "mswoole"
	if (a.Auth.Accept3DES || compat) && a.Auth.Key3DES == "" && len(a.Auth.Key) <= max3DES {
		a.Auth.Key3DES = a.Auth.Key // the original has one key
	}
	if compat {
		a.Protocol.ReceiveAck, a.Protocol.EscapeHTML = true, true
		if a.Auth.Key3DES != "" {
			a.Auth.Accept3DES = true
		}
	}
	if d := &c.DB.Master; d.Driver == "sqlite" && d.DSN == "" {
		d.DSN = filepath.Join(a.Runtime.Dir, "wsframe.db")
	}
}

// validate reports everything that is wrong, a line each. where names a setting as its owner finds it.
func (c *Config) validate(where func(file, key string) string) error {
	var errs []error
	bad := func(file, key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", where(file, key), fmt.Sprintf(format, args...)))
	}
	c.App.validate(bad)
	c.Cache.readURLs(bad)
	c.Cache.validate(bad)
	c.DB.validate(bad)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) // maps have no order
	return errors.Join(errs...)
}

type complain func(file, key, format string, args ...any)

func (a *App) validate(bad complain) {
	taken := map[int]string{}
	for _, l := range []struct {
		key string
		Listen
	}{{"outside", a.Outside}, {"manager", Listen{a.Manager.Host, a.Manager.Port}}, {"push", Listen{a.Push.Host, a.Push.Port}}} {
		if l.Port < 0 || l.Port > 65535 {
			bad("app", l.key+".port", "%d is not a port (0-65535)", l.Port)
		}
		if other := taken[l.Port]; other != "" && l.Port != 0 {
			bad("app", l.key+".port", "%d is %s.port already", l.Port, other)
		}
		taken[l.Port] = l.key
		switch {
		case l.Host == "":
			bad("app", l.key+".host", "is empty; 0.0.0.0 means all addresses")
		case !isHost(l.Host):
			bad("app", l.key+".host", "%.80q is neither an address nor a host name", l.Host)
		}
	}
	if !socket.IsLoopback(a.Manager.Host) && len(a.Manager.Token) < 16 {
		bad("app", "manager.token", "at least 16 bytes are needed when the manager listens on %s", a.Manager.Host)
	}
	if !slices.Contains([]string{"allow", "refuse", "replace"}, a.Users.SecondLogin) {
		bad("app", "users.second_login", "%.40q is none of allow, refuse, replace", a.Users.SecondLogin)
	}
	for _, kind := range a.Auth.Types3DES {
		if !isUserType(kind) {
			bad("app", "auth.types_3des", userType, kind)
		}
	}
	if a.Auth.Accept3DES && len(a.Auth.Types3DES) == 0 {
		bad("app", "auth.types_3des", "is empty: no 3DES token could come in; switch auth.accept_3des off")
	}
	if !slices.Contains([]string{"close", "serve"}, a.Cluster.Isolated) {
		bad("app", "cluster.isolated", "%.40q is none of close, serve", a.Cluster.Isolated)
	}
	if _, err := HistoryRules(a.History.Rooms); err != nil {
		bad("app", "history.rooms", "%v", err)
	}
	if err := CheckPresence(a.Presence.Rooms); err != nil {
		bad("app", "presence.rooms", "%v", err)
	}
	for _, kind := range a.Users.UIDTypes {
		if !isUserType(kind) {
			bad("app", "users.uid_types", userType, kind)
		}
	}
	if a.Push.RequestRate < 0 {
		bad("app", "push.request_rate", "%d: must not be negative", a.Push.RequestRate)
	}
	if a.Push.MaxBody < 1024 {
		bad("app", "push.max_body", "%d: must be at least 1024", a.Push.MaxBody)
	}
	if n := a.Push.KeptBytes; n != 0 && n < 64<<10 {
		bad("app", "push.kept_bytes", "%d: must be 0, for any number, or at least 65536", n)
	}
	for i, text := range a.Push.Tokens {
		words := strings.Fields(text)
		if len(words) == 0 || len(words[0]) < 16 {
			bad("app", "push.tokens", "token %d: needs at least 16 bytes, and its scopes behind it", i+1)
			continue
		}
		for _, scope := range words[1:] {
			if scope != "send" && scope != "read" && scope != "manage" {
				bad("app", "push.tokens", "token %d: %q is no scope: they are send, read, manage", i+1, scope)
			}
		}
	}
	if !socket.IsLoopback(a.Push.Host) && len(a.Push.Tokens) == 0 {
		bad("app", "push.tokens", "a token is needed when the push port listens on %s", a.Push.Host)
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
		"limits.stop_grace": l.StopGrace, "limits.reload_drain": l.ReloadDrain, "limits.boot_timeout": l.BootTimeout,
		"heartbeat.ping": a.Heartbeat.Ping, "heartbeat.idle": a.Heartbeat.Idle,
	} {
		if v < time.Second {
			bad("app", key, "%v: must be at least 1s", v)
		}
	}
	if l.WorkerHang != 0 && l.WorkerHang < time.Second {
		bad("app", "limits.worker_hang", "%v: must be 0s (never) or at least 1s", l.WorkerHang)
	}
	if _, err := HeartbeatTexts(a.Heartbeat.Texts); err != nil {
		bad("app", "heartbeat.texts", "%v", err)
	}
	if a.Heartbeat.Idle <= a.Heartbeat.Ping {
		bad("app", "heartbeat.idle", "%v must be longer than heartbeat.ping %v", a.Heartbeat.Idle, a.Heartbeat.Ping)
	}
	if l.RoomFlush < 0 || l.RoomFlush > time.Second {
		bad("app", "limits.room_flush", "%v: must be 0s to 1s", l.RoomFlush)
	}
	for key, v := range map[string]time.Duration{"auth.lifetime": a.Auth.Lifetime, "auth.skew": a.Auth.Skew} {
		if v < 0 {
			bad("app", key, "%v: must not be negative", v)
		}
	}
	for key, v := range map[string]string{"auth.key": a.Auth.Key, "auth.previous_key": a.Auth.PreviousKey} {
		if key == "auth.key" && a.Auth.Accept3DES && v == a.Auth.Key3DES {
			continue // it need not be one of our own tokens
		}
		if v != "" && len(v) < 16 {
			bad("app", key, "has %d bytes; at least 16 are needed", len(v))
		}
	}
	switch {
	case len(a.Auth.Key3DES) > max3DES:
		bad("app", "auth.key_3des", "has %d bytes; 3DES takes %d at most", len(a.Auth.Key3DES), max3DES)
	case a.Auth.Accept3DES && a.Auth.Key3DES == "" && a.Auth.Key != "":
		bad("app", "auth.key_3des", "is needed for auth.accept_3des: auth.key has %d bytes, and 3DES takes %d at most", len(a.Auth.Key), max3DES)
	case a.Auth.Accept3DES && a.Auth.Key3DES == "":
		bad("app", "auth.key_3des", "or auth.key is needed for auth.accept_3des")
	}
	if !slices.Contains([]string{"", "mswoole"}, a.Protocol.Compat) {
		bad("app", "protocol.compat", "%q: only mswoole is known", a.Protocol.Compat)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, a.Log.Level) {
		bad("app", "log.level", "%q: debug, info, warn or error", a.Log.Level)
	}
	for key, v := range map[string]int{"log.max_size_mb": a.Log.MaxSizeMB, "log.max_days": a.Log.MaxDays, "log.max_files": a.Log.MaxFiles} {
		if v < 1 {
			bad("app", key, "%d: must be at least 1", v)
		}
	}
	for _, p := range a.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			if _, err := netip.ParseAddr(p); err != nil {
				bad("app", "trusted_proxies", "%q is neither an address nor a CIDR", p)
			}
		}
	}
	if !isHeaderName(a.TrustedHeader) {
		bad("app", "trusted_header", "%.40q is no header's name; wanted is one like X-Real-IP, X-Forwarded-For or Forwarded", a.TrustedHeader)
	}
	for _, o := range a.Origins {
		if !isOrigin(o) {
			bad("app", "origins", "%.80q: write https://example.com, with the port where it is unusual; \"*\" alone means any page", o)
		}
	}
	if a.Runtime.Dir == "" {
		bad("app", "runtime.dir", "is empty")
	}
}

func (c *Cache) validate(bad complain) {
	m := &c.Master
	if !slices.Contains([]string{"embedded", "redis"}, m.Driver) {
		bad("cache", "master.driver", "%q: embedded or redis", m.Driver)
	}
	if m.Driver == "redis" && len(m.Addrs) == 0 {
		bad("cache", "master.addrs", "is empty")
	}
	for i, addr := range m.Addrs {
		if m.Driver == "redis" && !isAddress(addr) {
			bad("cache", "master.addrs", "entry %d is neither HOST:PORT nor rediss://USER:PASSWORD@HOST:PORT/DB; special characters of a password are written as %%40", i+1)
		}
	}
	if _, err := c.TLSConfig(); err != nil {
		bad("cache", "master.tls", "%v", err)
	}
	switch cluster := len(m.Addrs) > 1 && m.SentinelMaster == ""; {
	case m.DB < 0:
		bad("cache", "master.db", "%d: must be 0 or more", m.DB)
	case m.Driver == "redis" && cluster && m.DB > 0: // go-redis would take 0 and not say so
		bad("cache", "master.db", "%d: several addrs are a Redis Cluster, which has database 0 only", m.DB)
	}
	if len(m.Prefix) > 64 || strings.ContainsFunc(m.Prefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("cache", "master.prefix", "%.80q: at most 64 printable ASCII characters", m.Prefix)
	}
	if m.Timeout <= 0 {
		bad("cache", "master.timeout", "%v: must be more than 0", m.Timeout)
	}
	if m.Save < 10*time.Millisecond || m.Save > time.Hour {
		bad("cache", "master.save", "%v: 10ms to 1h", m.Save)
	}
}

func (c *DB) validate(bad complain) {
	d := &c.Master
	if !slices.Contains([]string{"sqlite", "mysql", "postgres"}, d.Driver) {
		bad("db", "master.driver", "%q: sqlite, mysql or postgres", d.Driver)
	}
	switch known := d.Driver == "mysql" || d.Driver == "postgres"; {
	case known && d.DSN == "":
		bad("db", "master.dsn", "is empty")
	case known:
		if err := db.Check(d.Driver, d.DSN); err != nil {
			bad("db", "master.dsn", "%v", err)
		}
	}
	if d.MaxOpen < 1 {
		bad("db", "master.max_open", "%d: must be at least 1", d.MaxOpen)
	}
	if d.Timeout <= 0 {
		bad("db", "master.timeout", "%v: must be more than 0", d.Timeout)
	}
}

// isAddress accepts host:port. The caller must not show any other text: it may contain a password.
func isAddress(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !isHost(host) {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

const userType = "%.40q is no user type: 1 to 32 of the characters A-Z a-z 0-9 _ . : @ -, or \"*\" for all"

// isUserType takes what a token's type can be, and * for all types.
func isUserType(kind string) bool {
	return kind == "*" || kind != "" && len(kind) <= 32 && !strings.ContainsFunc(kind, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:@-", r)
	})
}

// isHeaderName takes letters, digits and hyphens: a part of what RFC 9110 section 5.6.2 allows, and all that proxies use.
func isHeaderName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}

// isHost takes IP addresses (IPv6 with a zone too) and names, without port and brackets.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return len(host) <= 253 && !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}

// isOrigin takes what an Origin header can hold (RFC 6454 section 6.2), a bare host with or without port, and *.
func isOrigin(o string) bool {
	if o == "*" {
		return true
	}
	if !strings.Contains(o, "://") {
		o = "https://" + o
	}
	u, err := url.Parse(strings.TrimSuffix(o, "/"))
	return err == nil && u.Host != "" && (isHost(u.Hostname()) || strings.HasPrefix(u.Host, "[")) && u.Scheme+"://"+u.Host == strings.TrimSuffix(o, "/")
}

// Warnings are the settings that somebody chose and should know about, a line each.
func (c *Config) Warnings() []string {
	var w []string
	a := &c.App
	if n := len(c.foreign); n > 0 {
		w = append(w, fmt.Sprintf("the environment has %d service links of Kubernetes, which are no settings and are passed over: %s", n, strings.Join(c.foreign, ", ")))
	}
	if !a.Auth.Check {
		w = append(w, "auth.check is off: everybody may connect")
	}
	if a.Auth.Accept3DES {
		w = append(w, "auth.accept_3des is on, for the user types "+strings.Join(a.Auth.Types3DES, ", ")+" (auth.types_3des): such tokens are not authenticated and can be forged from others, so that whoever has some can be anyone of these types; end it when your back ends issue w1 tokens")
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
	if a.Limits.MaxConnections == 0 {
		w = append(w, "limits.max_connections is 0: only the system's descriptors and memory limit the number of clients")
	}
	if a.Limits.RefusedRate == 0 {
		w = append(w, "limits.refused_rate is 0: refused handshakes are answered in full at any rate")
	}
	if c.Cache.Master.TLSSkipVerify {
		w = append(w, "cache.master.tls_skip_verify is on: whoever is between this server and Redis can read and change everything")
	}
	for _, p := range a.TrustedProxies {
		if prefix, err := netip.ParsePrefix(p); err == nil && prefix.Bits() == 0 {
			w = append(w, "trusted_proxies holds "+p+": every client can claim any address")
		}
	}
	return w
}
