package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// rule lists values of a key that are refused and accepted.
type rule struct {
	key      string
	refused  []string
	accepted []string
	with     string // other settings, as variables without WSFRAME_
	says     string // what the error names, where it is another than the key
}

// rules hold what config/*.yaml says about each key: values beyond a limit, which are refused, and
// values at the limit, which are accepted. A key whose rule depends on others has several rows.
var rules = []rule{
	{key: "app.outside.host", refused: []string{"", "a b", "0.0.0.0:80", "[::1]", letters(254)}, accepted: []string{"0.0.0.0", "::", "fe80::1%eth0", "localhost", letters(253)}},
	{key: "app.outside.port", refused: []string{"-1", "65536"}, accepted: []string{"0", "1", "65535"}},
	{key: "app.outside.port", refused: []string{"20001", "2121"}, says: " is outside.port already"},
	{key: "app.manager.host", refused: []string{"", "a b", "127.0.0.1:80"}, accepted: []string{"127.0.0.1", "127.255.255.254", "::1", "localhost"}},
	{key: "app.manager.host", refused: []string{"0.0.0.0", "::", "10.0.0.1", "example.com"}, says: "manager.token"},
	{key: "app.manager.port", refused: []string{"-1", "65536", "20000"}, accepted: []string{"0", "1", "65535"}},
	{key: "app.manager.token", refused: []string{"", letters(15)}, accepted: []string{letters(16)}, with: "APP_MANAGER_HOST=0.0.0.0"},
	{key: "app.manager.token", accepted: []string{"", "x"}},
	{key: "app.push.host", refused: []string{"", "a b", "127.0.0.1:80"}, accepted: []string{"127.0.0.1", "::1", "localhost"}},
	{key: "app.push.host", refused: []string{"0.0.0.0", "::", "10.0.0.1"}, says: "push.tokens"},
	{key: "app.push.port", refused: []string{"-1", "65536", "20000", "20001"}, accepted: []string{"0", "1", "65535"}},
	{key: "app.push.tokens", refused: []string{"x", letters(15), letters(15) + " send", letters(16) + " write", letters(16) + " SEND"},
		accepted: []string{"", letters(16), letters(16) + " send", letters(16) + " send read manage"}},
	{key: "app.push.tokens", refused: []string{""}, accepted: []string{letters(16)}, with: "APP_PUSH_HOST=0.0.0.0"},
	{key: "app.push.request_rate", refused: []string{"-1"}, accepted: []string{"0", "1"}},
	{key: "app.push.max_body", refused: []string{"-1", "0", "1023"}, accepted: []string{"1024"}},
	{key: "app.push.kept_bytes", refused: []string{"-1", "1", "65535"}, accepted: []string{"0", "65536"}},

	{key: "app.auth.key", refused: []string{"x", letters(15)}, accepted: []string{"", letters(16)}},
	{key: "app.auth.key", refused: []string{"", letters(25)}, accepted: []string{"x", letters(24)}, with: "APP_AUTH_ACCEPT_3DES=true", says: "auth.key_3des"},
	{key: "app.auth.previous_key", refused: []string{"x", letters(15)}, accepted: []string{"", letters(16)}},
	{key: "app.auth.accept_3des", refused: []string{"true"}, accepted: []string{"false"}, says: "auth.key_3des"},
	{key: "app.auth.key_3des", refused: []string{letters(25)}, accepted: []string{"", "x", letters(24)}},
	{key: "app.auth.types_3des", refused: []string{"a b", "a/b", "用户", letters(33)}, accepted: []string{"", "*", "a", "A-Z.a_z:0@9", letters(32)}},
	{key: "app.auth.types_3des", refused: []string{""}, accepted: []string{"*"}, with: "APP_AUTH_ACCEPT_3DES=true APP_AUTH_KEY_3DES=k"},
	{key: "app.auth.lifetime", refused: []string{"-1ns"}, accepted: []string{"0s", "1ns"}},
	{key: "app.auth.skew", refused: []string{"-1ns"}, accepted: []string{"0s"}},

	{key: "app.socketio.host", refused: []string{"", "a b", "127.0.0.1:80"}, accepted: []string{"0.0.0.0", "::1"}},
	{key: "app.socketio.port", refused: []string{"-1", "65536"}, accepted: []string{"0", "65535", "20000"}},
	{key: "app.socketio.port", refused: []string{"20000", "2121"}, with: "APP_SOCKETIO_ENABLED=true", says: " already"},
	{key: "app.socketio.login", refused: []string{"", "none", "Any"}, accepted: []string{"token", "any"}, with: "APP_SOCKETIO_ENABLED=true"},
	{key: "app.socketio.origins", refused: []string{"https://a.example/x", "a b"}, accepted: []string{"", "*", "https://a.example"}},

	{key: "app.gateway.host", refused: []string{"", "a b", "127.0.0.1:80"}, accepted: []string{"0.0.0.0", "::1"}},
	{key: "app.gateway.port", refused: []string{"-2", "65536"}, accepted: []string{"-1", "0", "65535", "20000"}},
	{key: "app.gateway.port", refused: []string{"20000", "2121", "2900", "1236"}, with: "APP_GATEWAY_ENABLED=true", says: " already"},
	{key: "app.gateway.register_host", refused: []string{"", "a b"}, accepted: []string{"0.0.0.0"}},
	{key: "app.gateway.register_host", refused: []string{"0.0.0.0", "10.0.0.1"}, accepted: []string{"127.0.0.1"}, with: "APP_GATEWAY_ENABLED=true"},
	{key: "app.gateway.register_host", accepted: []string{"0.0.0.0"}, with: "APP_GATEWAY_ENABLED=true APP_GATEWAY_PEERS=10.0.0.0/8"},
	{key: "app.gateway.register_port", refused: []string{"-1", "65536"}, accepted: []string{"0", "65535"}},
	{key: "app.gateway.registers", refused: []string{"h", "h:0", "http://h:1"}, accepted: []string{"", "h:1,10.0.0.1:1236"}},
	{key: "app.gateway.lan_ip", refused: []string{"", "localhost", "0.0.0.0", "::1", "10.0.0.1:2900"}, accepted: []string{"127.0.0.1", "10.0.0.1"}},
	{key: "app.gateway.lan_ip", refused: []string{"10.0.0.1"}, accepted: []string{"127.0.0.1"}, with: "APP_GATEWAY_ENABLED=true", says: "gateway.inner_host"},
	{key: "app.gateway.lan_ip", accepted: []string{"10.0.0.1"}, with: "APP_GATEWAY_ENABLED=true APP_GATEWAY_SECRET_KEY=k"},
	{key: "app.gateway.inner_host", refused: []string{"a b"}, accepted: []string{"", "0.0.0.0"}},
	{key: "app.gateway.inner_host", refused: []string{"0.0.0.0"}, accepted: []string{""}, with: "APP_GATEWAY_ENABLED=true"},
	{key: "app.gateway.start_port", refused: []string{"-1", "0", "65536"}, accepted: []string{"1", "65535"}},
	{key: "app.gateway.secret_key", refused: []string{"a\"b", "a\\b", "é", "a\tb"}, accepted: []string{"", "a b'!~"}},
	{key: "app.gateway.peers", refused: []string{"h", "10.0.0.0/33", "fe80::1%eth0"}, accepted: []string{"", "10.0.0.1,10.0.0.0/8,::1"}},
	{key: "app.gateway.worker_wait", refused: []string{"-1s"}, accepted: []string{"0s", "10ms"}},
	{key: "app.gateway.ping_interval", refused: []string{"-1s", "999ms"}, accepted: []string{"0s", "1s"}},
	{key: "app.gateway.ping_not_response_limit", refused: []string{"-1"}, accepted: []string{"0"}},
	{key: "app.gateway.session_bytes", refused: []string{"-1", "0", "4194305"}, accepted: []string{"1", "4194304"}},
	{key: "app.gateway.origins", refused: []string{"https://a.example/x", "a b"}, accepted: []string{"", "*", "https://a.example"}},

	{key: "app.protocol.compat", refused: []string{"x", "MSwoole"}, accepted: []string{"", "mswoole"}},
	{key: "app.users.uid_types", refused: []string{"a b", letters(33)}, accepted: []string{"", "*", letters(32)}},
	{key: "app.users.second_login", refused: []string{"", "Allow", "deny"}, accepted: []string{"allow", "refuse", "replace"}},
	{key: "app.cluster.substreams", refused: []string{"-1", "1025", "many"}, accepted: []string{"0", "64", "1024"}},
	{key: "app.cluster.isolated", refused: []string{"", "Close", "stop"}, accepted: []string{"close", "serve"}},
	{key: "app.history.rooms", refused: []string{"x", "x:1", ":1:1h", "[:1:1h", "x:0:1h", "x:100001:1h", "x:y:1h", "x:1:999ms", "x:1:1", "a:1:1h,x"},
		accepted: []string{"", "x:1:1s", "x:100000:1s", "a:b:1:1s", "CHAT_*:200:24h,*:1:1s"}},
	{key: "app.presence.rooms", refused: []string{"[", "CHAT_*,[a"}, accepted: []string{"", "*", "CHAT_*,VIP"}},

	{key: "app.heartbeat.ping", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s", "59999ms"}},
	{key: "app.heartbeat.ping", refused: []string{"60s", "61s"}, says: "heartbeat.idle"},
	{key: "app.heartbeat.idle", refused: []string{"-1s", "0s", "25s"}, accepted: []string{"25001ms"}, with: "APP_HEARTBEAT_PING=25s"},
	{key: "app.heartbeat.texts", refused: []string{"x", "2=4", "a=1,a=2", letters(126) + "=", "a=" + letters(126), "a\tb=", "\xff=", texts33},
		accepted: []string{"", "=", "ping=pong,心跳=", letters(125) + "=" + letters(125), strings.TrimSuffix(texts33, ",32=")}},

	{key: "app.origins", refused: []string{"https://a.example/x", "https://*.a.example", "https://a.example?x", "https://", "a b"},
		accepted: []string{"", "*", "a.example", "https://a.example", "https://a.example/", "https://a.example:8443", "http://[::1]:80"}},
	{key: "app.trusted_proxies", refused: []string{"nginx", "10.0.0.0/33", "127.0.0.1:80"}, accepted: []string{"", "127.0.0.1", "::1", "0.0.0.0/0", "10.0.0.0/32"}},
	{key: "app.trusted_header", refused: []string{"", "X Y", "X:", letters(65)}, accepted: []string{"Forwarded", "CF-Connecting-IP", letters(64)}},
	{key: "app.runtime.dir", refused: []string{""}, accepted: []string{"."}},
	{key: "app.log.level", refused: []string{"", "INFO", "warning"}, accepted: []string{"debug", "info", "warn", "error"}},
	{key: "app.log.max_size_mb", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.log.max_days", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.log.max_files", refused: []string{"-1", "0"}, accepted: []string{"1"}},

	{key: "app.limits.handshake_timeout", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s"}},
	{key: "app.limits.message_time", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s"}},
	{key: "app.limits.write_timeout", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s"}},
	{key: "app.limits.stop_grace", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s"}},
	{key: "app.limits.reload_drain", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s"}},
	{key: "app.limits.stream_drain", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s"}},
	{key: "app.limits.boot_timeout", refused: []string{"-1s", "0s", "999ms"}, accepted: []string{"1s"}},
	{key: "app.limits.worker_hang", refused: []string{"-1s", "1ns", "999ms"}, accepted: []string{"0s", "1s"}},
	{key: "app.limits.room_flush", refused: []string{"-1ns", "1001ms"}, accepted: []string{"0s", "1ns", "1s"}},
	{key: "app.limits.handshake_bytes", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.message_bytes", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.fragments", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.json_depth", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.outbox_bytes", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.outbox_messages", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.rooms_per_connection", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.close_keys_per_connection", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "app.limits.message_rate", refused: []string{"-1"}, accepted: []string{"0"}},
	{key: "app.limits.message_burst", refused: []string{"-1"}, accepted: []string{"0"}},
	{key: "app.limits.refused_rate", refused: []string{"-1"}, accepted: []string{"0"}},
	{key: "app.limits.max_connections", refused: []string{"-1"}, accepted: []string{"0"}},
	{key: "app.limits.connections_per_ip", refused: []string{"-1"}, accepted: []string{"0"}},

	{key: "cache.master.driver", refused: []string{"", "Redis", "memory"}, accepted: []string{"embedded", "redis"}},
	{key: "cache.master.save", refused: []string{"0s", "9999us", "3600001ms"}, accepted: []string{"10ms", "1h"}},
	{key: "cache.master.addrs", refused: []string{"", "h", "h:", "h:x", "h:0", "h:65536", "a b:1", "u:p@h:1", "http://h:1"},
		accepted: []string{"h:1", "h:65535", "[::1]:1", "redis://u:p@h:1/2", "rediss://h"}, with: "CACHE_MASTER_DRIVER=redis"},
	{key: "cache.master.db", refused: []string{"-1"}, accepted: []string{"0", "1"}, with: "CACHE_MASTER_DRIVER=redis"},
	{key: "cache.master.db", refused: []string{"1"}, accepted: []string{"0"}, with: "CACHE_MASTER_DRIVER=redis CACHE_MASTER_ADDRS=a:1,b:1"},
	{key: "cache.master.prefix", refused: []string{"a b", "é", "a\n", letters(65)}, accepted: []string{"", "!~", letters(64)}},
	{key: "cache.master.timeout", refused: []string{"-1s", "0s"}, accepted: []string{"1ns"}},
	{key: "cache.master.tls", refused: []string{"false"}, accepted: []string{"true"}, with: "CACHE_MASTER_TLS_SERVER_NAME=h"},
	{key: "cache.master.tls_ca", refused: []string{"/nowhere"}, with: "CACHE_MASTER_TLS=true", says: "tls_ca"},
	{key: "cache.master.tls_cert", refused: []string{"/nowhere"}, with: "CACHE_MASTER_TLS=true", says: "tls_cert"},
	{key: "cache.master.tls_key", refused: []string{"/nowhere"}, with: "CACHE_MASTER_TLS=true", says: "tls_key"},
	{key: "cache.master.tls_server_name", refused: []string{"h"}, accepted: []string{""}, says: "master.tls"},
	{key: "cache.master.tls_skip_verify", refused: []string{"true"}, accepted: []string{"false"}, says: "master.tls"},

	{key: "db.master.driver", refused: []string{"", "SQLite", "oracle"}, accepted: []string{"sqlite"}},
	{key: "db.master.driver", refused: []string{"mysql", "postgres"}, says: "master.dsn"},
	{key: "db.master.dsn", refused: []string{"", "u:p@h/x"}, accepted: []string{"u:p@tcp(h:3306)/x"}, with: "DB_MASTER_DRIVER=mysql"},
	{key: "db.master.dsn", refused: []string{"", "postgres://u:p@h:port/x"}, accepted: []string{"host=h user=u dbname=x"}, with: "DB_MASTER_DRIVER=postgres"},
	{key: "db.master.max_open", refused: []string{"-1", "0"}, accepted: []string{"1"}},
	{key: "db.master.timeout", refused: []string{"-1s", "0s"}, accepted: []string{"1ns"}},
}

// free lists the keys that accept every text. Keys of the type bool have no rule, either.
var free = []string{"app.gateway.greeting", "app.gateway.ping_data", "cache.master.username", "cache.master.password", "cache.master.sentinel_master"}

func letters(n int) string { return strings.Repeat("a", n) }

// texts33 has one heartbeat too many.
var texts33 = func() string {
	var list []string
	for i := range maxHeartbeats + 1 {
		list = append(list, fmt.Sprintf("%d=", i))
	}
	list[2] = "x=" // 2 has its answer
	return strings.Join(list, ",")
}()

// TestRules checks each limit: the error for a value beyond it names the key and the variable that
// set it.
func TestRules(t *testing.T) {
	for _, r := range rules {
		t.Run(r.key, func(t *testing.T) {
			file, key, _ := strings.Cut(r.key, ".")
			env := func(value string) []string {
				list := []string{EnvName(file, key) + "=" + value}
				for v := range strings.FieldsSeq(r.with) {
					list = append(list, "WSFRAME_"+v)
				}
				return list
			}
			want := r.says
			if want == "" {
				want = file + ".yaml: " + key + " (" + EnvName(file, key) + "): "
			}
			for _, value := range r.refused {
				switch _, err := Load("", env(value)); {
				case err == nil:
					t.Errorf("%q is accepted", value)
				case !strings.Contains(err.Error(), want):
					t.Errorf("%q: %v; wanted is an error that names %q", value, err, want)
				}
			}
			for _, value := range r.accepted {
				if _, err := Load("", env(value)); err != nil {
					t.Errorf("%q: %v", value, err)
				}
			}
		})
	}
}

// TestRulesAreComplete checks that every key has a row in rules, or is known to have no rule.
// Values of a wrong type are refused by name, too.
func TestRulesAreComplete(t *testing.T) {
	wrong := map[string][]string{"bool": {"", "maybe", "2"}, "int": {"", "x", "1.5", "9999999999999999999"}, "time.Duration": {"", "x", "1.5", "5 s", "-"}}
	for _, p := range defaults().parts() {
		walk(reflect.ValueOf(p.v).Elem(), "", func(key string, field reflect.Value, _ bool) {
			full, kind := p.name+"."+key, field.Type().String()
			for _, value := range wrong[kind] {
				if _, err := Load("", []string{EnvName(p.name, key) + "=" + value}); err == nil || !strings.Contains(err.Error(), p.name+".yaml: "+key+" (") {
					t.Errorf("%s=%q: %v", full, value, err)
				}
			}
			if !slices.ContainsFunc(rules, func(r rule) bool { return r.key == full }) && kind != "bool" && !slices.Contains(free, full) {
				t.Errorf("%s has no rule in this test", full)
			}
		})
	}
	if err := CheckPresence([]string{""}); err == nil {
		t.Error("an empty pattern is accepted")
	}
	if r, err := HistoryRules([]string{"a:b:7:90m"}); err != nil || !slices.Equal(r, []HistoryRule{{"a:b", 7, 90 * time.Minute}}) {
		t.Error(r, err)
	}
}
