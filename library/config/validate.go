package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wsframe/library/db"
	"wsframe/library/socket"
)

const (
	// max3DES is the greatest length of a 3DES key, in bytes.
	max3DES = 24
	// minSecret is the least length of a key or token of ours, in bytes.
	minSecret = 16
)

// complete sets values that depend on other settings. fromEnv tells whether the environment set a
// key of app.
func (c *Config) complete(fromEnv func(key string) bool) {
	a := &c.App
	// A short idle time alone is no contradiction: the pings follow it. The server looks at its
	// connections once a second, so pings are at least a second apart.
	if h := &a.Heartbeat; h.Idle <= h.Ping && !fromEnv("heartbeat.ping") && (fromEnv("heartbeat.idle") || h.Ping == defaults().App.Heartbeat.Ping) {
		h.Ping = max(h.Idle/3, time.Second)
	}
	compat := a.Protocol.Compat == "mswoole"
	if (a.Auth.Accept3DES || compat) && a.Auth.Key3DES == "" && len(a.Auth.Key) <= max3DES {
		a.Auth.Key3DES = a.Auth.Key // MSwoole-ws has one key
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

// complain reports a wrong value of a key in a file.
type complain func(file, key, format string, args ...any)

// validate returns an error with a line for each wrong setting. where names a setting together
// with the file or variable that sets it.
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

func (a *App) validate(bad complain) {
	a.validatePorts(bad)
	a.validatePush(bad)
	a.Gateway.validate(bad)
	a.SocketIO.validate(bad)
	a.validateAuth(bad)
	a.validateRooms(bad)
	a.validateLimits(bad)
	a.validateHeartbeat(bad)
	a.validateOrigins(bad)
	oneOf(bad, "app", "users.second_login", a.Users.SecondLogin, "allow", "refuse", "replace")
	userTypes(bad, "users.uid_types", a.Users.UIDTypes)
	oneOf(bad, "app", "cluster.isolated", a.Cluster.Isolated, "close", "serve")
	if n := a.Cluster.Substreams; n < 0 || n > 1024 {
		bad("app", "cluster.substreams", "%d is not from 0 to 1024", n)
	}
	if !slices.Contains([]string{"", "mswoole"}, a.Protocol.Compat) {
		bad("app", "protocol.compat", "%q: only mswoole is known", a.Protocol.Compat)
	}
	if a.Runtime.Dir == "" {
		bad("app", "runtime.dir", "is empty")
	}
	oneOf(bad, "app", "log.level", a.Log.Level, "debug", "info", "warn", "error")
	atLeast(bad, 1, map[string]int{"log.max_size_mb": a.Log.MaxSizeMB, "log.max_days": a.Log.MaxDays, "log.max_files": a.Log.MaxFiles})
}

// port is a port that the server listens on, with the keys of its settings.
type port struct {
	hostKey, portKey string
	Listen
}

func (a *App) validatePorts(bad complain) {
	used := map[int]string{}
	check := func(l port, opened bool) {
		if l.Port < 0 || l.Port > 65535 {
			bad("app", l.portKey, "%d is not a port (0-65535)", l.Port)
		}
		if other := used[l.Port]; opened && other != "" && l.Port != 0 {
			bad("app", l.portKey, "%d is %s already", l.Port, other)
		}
		if opened {
			used[l.Port] = l.portKey
		}
		switch {
		case l.Host == "":
			bad("app", l.hostKey, "is empty; 0.0.0.0 means all addresses")
		case !isHost(l.Host):
			bad("app", l.hostKey, "%.80q is neither an address nor a host name", l.Host)
		}
	}
	for _, l := range []port{
		{"outside.host", "outside.port", a.Outside}, {"manager.host", "manager.port", Listen{a.Manager.Host, a.Manager.Port}},
		{"push.host", "push.port", Listen{a.Push.Host, a.Push.Port}},
	} {
		check(l, true)
	}
	for _, l := range a.Gateway.ports() {
		check(l, a.Gateway.Enabled)
	}
	check(port{"socketio.host", "socketio.port", Listen{a.SocketIO.Host, a.SocketIO.Port}}, a.SocketIO.Enabled)
	if !socket.IsLoopback(a.Manager.Host) && len(a.Manager.Token) < minSecret {
		bad("app", "manager.token", "at least %d bytes are needed when the manager listens on %s", minSecret, a.Manager.Host)
	}
}

func (a *App) validatePush(bad complain) {
	atLeast(bad, 0, map[string]int{"push.request_rate": a.Push.RequestRate})
	atLeast(bad, 1024, map[string]int{"push.max_body": a.Push.MaxBody})
	if n := a.Push.KeptBytes; n != 0 && n < 64<<10 {
		bad("app", "push.kept_bytes", "%d: must be 0, for any number, or at least 65536", n)
	}
	for i, text := range a.Push.Tokens {
		words := strings.Fields(text)
		if len(words) == 0 || len(words[0]) < minSecret {
			bad("app", "push.tokens", "token %d: needs at least %d bytes, followed by its scopes", i+1, minSecret)
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
}

func (a *App) validateAuth(bad complain) {
	auth := &a.Auth
	for key, v := range map[string]time.Duration{"auth.lifetime": auth.Lifetime, "auth.skew": auth.Skew} {
		if v < 0 {
			bad("app", key, "%v: must not be negative", v)
		}
	}
	for key, v := range map[string]string{"auth.key": auth.Key, "auth.previous_key": auth.PreviousKey} {
		if key == "auth.key" && auth.Accept3DES && v == auth.Key3DES {
			continue // this key may serve 3DES tokens only
		}
		if v != "" && len(v) < minSecret {
			bad("app", key, "has %d bytes; at least %d are needed", len(v), minSecret)
		}
	}
	userTypes(bad, "auth.types_3des", auth.Types3DES)
	if auth.Accept3DES && len(auth.Types3DES) == 0 {
		bad("app", "auth.types_3des", "is empty: no 3DES token could be accepted; turn auth.accept_3des off")
	}
	switch {
	case len(auth.Key3DES) > max3DES:
		bad("app", "auth.key_3des", "has %d bytes; 3DES takes %d at most", len(auth.Key3DES), max3DES)
	case auth.Accept3DES && auth.Key3DES == "" && auth.Key != "":
		bad("app", "auth.key_3des", "is needed for auth.accept_3des: auth.key has %d bytes, and 3DES takes %d at most", len(auth.Key), max3DES)
	case auth.Accept3DES && auth.Key3DES == "":
		bad("app", "auth.key_3des", "or auth.key is needed for auth.accept_3des")
	}
}

func (a *App) validateRooms(bad complain) {
	if _, err := HistoryRules(a.History.Rooms); err != nil {
		bad("app", "history.rooms", "%v", err)
	}
	if err := CheckPresence(a.Presence.Rooms); err != nil {
		bad("app", "presence.rooms", "%v", err)
	}
}

func (a *App) validateLimits(bad complain) {
	l := &a.Limits
	atLeast(bad, 1, map[string]int{
		"limits.handshake_bytes": l.HandshakeBytes, "limits.message_bytes": l.MessageBytes,
		"limits.fragments": l.Fragments, "limits.json_depth": l.JSONDepth,
		"limits.outbox_bytes": l.OutboxBytes, "limits.outbox_messages": l.OutboxMessages,
		"limits.rooms_per_connection":      l.RoomsPerConnection,
		"limits.close_keys_per_connection": l.CloseKeysPerConnection,
	})
	atLeast(bad, 0, map[string]int{ // 0 = off
		"limits.message_rate": l.MessageRate, "limits.message_burst": l.MessageBurst,
		"limits.refused_rate": l.RefusedRate, "limits.max_connections": l.MaxConnections,
		"limits.connections_per_ip": l.ConnectionsPerIP,
	})
	atLeast(bad, time.Second, map[string]time.Duration{
		"limits.handshake_timeout": l.HandshakeTimeout, "limits.message_time": l.MessageTime,
		"limits.write_timeout": l.WriteTimeout, "limits.stop_grace": l.StopGrace,
		"limits.reload_drain": l.ReloadDrain, "limits.stream_drain": l.StreamDrain, "limits.boot_timeout": l.BootTimeout,
	})
	if l.WorkerHang != 0 && l.WorkerHang < time.Second {
		bad("app", "limits.worker_hang", "%v: must be 0s (never) or at least 1s", l.WorkerHang)
	}
	if l.RoomFlush < 0 || l.RoomFlush > time.Second {
		bad("app", "limits.room_flush", "%v: must be 0s to 1s", l.RoomFlush)
	}
}

func (a *App) validateHeartbeat(bad complain) {
	h := &a.Heartbeat
	atLeast(bad, time.Second, map[string]time.Duration{"heartbeat.ping": h.Ping, "heartbeat.idle": h.Idle})
	if h.Idle <= h.Ping {
		bad("app", "heartbeat.idle", "%v must be longer than heartbeat.ping %v", h.Idle, h.Ping)
	}
	if _, err := HeartbeatTexts(h.Texts); err != nil {
		bad("app", "heartbeat.texts", "%v", err)
	}
}

func (a *App) validateOrigins(bad complain) {
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
			bad("app", "origins", "%.80q: write https://example.com, with the port if it is unusual; \"*\" alone means any page", o)
		}
	}
}

func (c *Cache) validate(bad complain) {
	m := &c.Master
	oneOf(bad, "cache", "master.driver", m.Driver, "embedded", "redis")
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
	case m.Driver == "redis" && cluster && m.DB > 0: // go-redis would silently use 0
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
	oneOf(bad, "db", "master.driver", d.Driver, "sqlite", "mysql", "postgres")
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

// oneOf refuses a value that is not in a list.
func oneOf(bad complain, file, key, value string, list ...string) {
	if !slices.Contains(list, value) {
		bad(file, key, "%.40q is none of %s", value, strings.Join(list, ", "))
	}
}

// atLeast refuses values of app that are below a limit.
func atLeast[T cmp.Ordered](bad complain, least T, values map[string]T) {
	for key, v := range values {
		if v < least {
			bad("app", key, "%v: must be at least %v", v, least)
		}
	}
}

func userTypes(bad complain, key string, list []string) {
	for _, kind := range list {
		if !isUserType(kind) {
			bad("app", key, "%.40q is no user type: 1 to 32 of the characters A-Z a-z 0-9 _ . : @ -, or \"*\" for all", kind)
		}
	}
}
