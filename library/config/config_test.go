package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// The shipped files contain every key with its default and a comment on its line.
func TestFilesShowAllKeysAndDefaults(t *testing.T) {
	shipped, err := Load("../../config", nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !same(shipped, bare) {
		for i, line := range strings.Split(shipped.String(), "\n") {
			if other := strings.Split(bare.String(), "\n")[i]; other != line {
				t.Errorf("file: %s, default: %s", line, other)
			}
		}
	}
	for name, v := range map[string]any{"app": &App{}, "cache": &Cache{}, "db": &DB{}} {
		b, err := os.ReadFile("../../config/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		if err := yaml.Unmarshal(b, &tree); err != nil {
			t.Fatal(err)
		}
		for _, key := range Keys(v) {
			var at any = tree
			for part := range strings.SplitSeq(key, ".") {
				m, _ := at.(map[string]any)
				at = m[part]
			}
			if at == nil {
				t.Errorf("%s.yaml does not show %s", name, key)
			}
		}
		for _, line := range uncommented(string(b)) {
			t.Errorf("%s.yaml: %q has no comment on its line", name, line)
		}
	}
}

// uncommented returns the lines that have a value but no comment.
func uncommented(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		_, value, ok := strings.Cut(line, ": ")
		if ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(value, "#") && !strings.Contains(value, " #") {
			list = append(list, line)
		}
	}
	return list
}

// Every key has its own variable.
func TestEveryKeyFromEnvironment(t *testing.T) {
	cert, key := certificate(t)
	values := map[string]string{
		"cache.master.tls_ca": cert, "cache.master.tls_cert": cert, "cache.master.tls_key": key,
		"app.manager.token": "0123456789abcdef", "app.auth.key": "0123456789abcdef", "app.auth.previous_key": "0123456789abcdeg",
		"app.protocol.compat": "mswoole", "app.log.level": "debug", "cache.master.driver": "redis", "db.master.driver": "mysql",
		"cache.master.addrs": "h:1", "app.trusted_proxies": "10.0.0.0/8", "app.origins": "https://a.example", "cache.master.db": "1",
		"app.outside.port": "1", "app.manager.port": "2", "app.push.port": "3", "app.heartbeat.idle": "99s", "app.heartbeat.texts": "ping=pong,心跳=,=", "app.limits.room_flush": "7ms",
		"app.push.max_body": "2048", "app.push.kept_bytes": "1048576", "app.push.tokens": "0123456789abcdef send,0123456789abcdeg", "app.users.second_login": "replace", "app.cluster.isolated": "serve", "app.cluster.substreams": "16", "app.history.rooms": "CHAT_*:200:24h",
		"app.gateway.lan_ip": "10.0.0.1", "app.gateway.registers": "h:1", "app.gateway.peers": "10.0.0.0/8,10.1.1.1", "app.gateway.origins": "https://a.example", "app.socketio.login": "any", "app.socketio.origins": "*",
	}
	seen := map[string]string{}
	base := defaults()
	for _, p := range base.parts() {
		walk(reflect.ValueOf(p.v).Elem(), "", func(setting string, field reflect.Value, _ bool) {
			full := p.name + "." + setting
			name := EnvName(p.name, setting)
			if seen[name] != "" {
				t.Errorf("%s means %s and %s", name, seen[name], full)
			}
			seen[name] = full
			value := values[full]
			if value == "" {
				switch x := field.Interface().(type) {
				case bool:
					value = map[bool]string{true: "false", false: "true"}[x]
				case int:
					value = "77"
				case time.Duration:
					value = "11s"
				default:
					value = "other"
				}
			}
			env := []string{name + "=" + value}
			switch full { // what needs another setting
			case "app.auth.accept_3des":
				env = append(env, "WSFRAME_APP_AUTH_KEY_3DES=k")
			case "app.manager.host":
				env = append(env, "WSFRAME_APP_MANAGER_TOKEN=0123456789abcdef")
			case "app.push.host":
				env = append(env, "WSFRAME_APP_PUSH_TOKENS=0123456789abcdef")
			case "cache.master.tls_ca", "cache.master.tls_server_name", "cache.master.tls_skip_verify":
				env = append(env, "WSFRAME_CACHE_MASTER_TLS=true")
			case "cache.master.tls_cert":
				env = append(env, "WSFRAME_CACHE_MASTER_TLS=true", "WSFRAME_CACHE_MASTER_TLS_KEY="+key)
			case "cache.master.tls_key":
				env = append(env, "WSFRAME_CACHE_MASTER_TLS=true", "WSFRAME_CACHE_MASTER_TLS_CERT="+cert)
			case "db.master.driver":
				env = append(env, "WSFRAME_DB_MASTER_DSN=u@tcp(h)/x")
			}
			c, err := Load("", env)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if before, after := base.String(), c.String(); before == after {
				t.Errorf("%s=%s changes nothing", name, value)
			}
		})
	}
}

// A missing, empty or null value means the default, so no unsafe value is chosen by accident.
func TestDefaultsStay(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"app": "auth:\n  check:\nlimits:\n", "cache": "", "db": "# nothing\n"} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bare, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "missing")} {
		c, err := Load(d, []string{"WSFRAME_ROLE=worker", "PATH=/bin"})
		if err != nil || !same(c, bare) {
			t.Errorf("%s: %v\n%s", d, err, c)
		}
	}
	if len(bare.Warnings()) != 0 {
		t.Errorf("the defaults warn: %q", bare.Warnings())
	}
}

func TestCompat(t *testing.T) {
	c, err := Load("", []string{"WSFRAME_APP_PROTOCOL_COMPAT=mswoole", "WSFRAME_APP_PROTOCOL_RECEIVE_ACK=false"})
	if err != nil || !c.App.Protocol.ReceiveAck || !c.App.Protocol.EscapeHTML || c.App.Auth.Accept3DES {
		t.Errorf("without a key: %v\n%s", err, c)
	}
	c, err = Load("", []string{"WSFRAME_APP_PROTOCOL_COMPAT=mswoole", "WSFRAME_APP_AUTH_KEY_3DES=marico-websocket"})
	if err != nil || !c.App.Auth.Accept3DES || len(c.Warnings()) != 1 {
		t.Errorf("with a key: %v\n%s", err, c)
	}
	c, err = Load("", []string{"WSFRAME_APP_PROTOCOL_COMPAT=mswoole", "WSFRAME_APP_AUTH_KEY=" + strings.Repeat("k", 25)})
	if err != nil || c.App.Auth.Accept3DES || c.App.Auth.Key3DES != "" {
		t.Errorf("with a key that is too long: %v\n%s", err, c)
	}
}

// MSwoole-ws has one key. Without auth.key_3des, auth.key is used for 3DES if it is short enough.
func TestOneKey(t *testing.T) {
	for _, on := range []string{"WSFRAME_APP_AUTH_ACCEPT_3DES=true", "WSFRAME_APP_PROTOCOL_COMPAT=mswoole"} {
		for _, key := range []string{"k", "marico-websocket", strings.Repeat("k", 24)} {
			c, err := Load("", []string{on, "WSFRAME_APP_AUTH_KEY=" + key})
			if err != nil || !c.App.Auth.Accept3DES || c.App.Auth.Key3DES != key || c.App.Auth.Key != key || len(c.Warnings()) != 1 {
				t.Errorf("%s with %q: %v\n%s", on, key, err, c)
			}
		}
		c, err := Load("", []string{on, "WSFRAME_APP_AUTH_KEY=0123456789abcdef", "WSFRAME_APP_AUTH_KEY_3DES=k"})
		if err != nil || c.App.Auth.Key3DES != "k" {
			t.Errorf("%s with two keys: %v\n%s", on, err, c)
		}
	}
	if c, err := Load("", []string{"WSFRAME_APP_AUTH_KEY=0123456789abcdef"}); err != nil || c.App.Auth.Key3DES != "" {
		t.Errorf("without 3DES: %v\n%s", err, c)
	}
}

// The pings follow an idle time that is set alone.
func TestPingFollows(t *testing.T) {
	for _, tc := range []struct {
		text, env  string
		ping, idle time.Duration
	}{
		{"", "WSFRAME_APP_HEARTBEAT_IDLE=3s", time.Second, 3 * time.Second},
		{"ping: 25s\n  idle: 60s", "WSFRAME_APP_HEARTBEAT_IDLE=2s", time.Second, 2 * time.Second},
		{"ping: 50s\n  idle: 60s", "WSFRAME_APP_HEARTBEAT_IDLE=30s", 10 * time.Second, 30 * time.Second},
		{"ping: 25s\n  idle: 24s", "", 8 * time.Second, 24 * time.Second},
		{"idle: 26s", "", 25 * time.Second, 26 * time.Second},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "app.yaml"), []byte("heartbeat:\n  "+tc.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(dir, []string{tc.env})
		if err != nil || c.App.Heartbeat.Ping != tc.ping || c.App.Heartbeat.Idle != tc.idle {
			t.Errorf("%q and %s: %v\n%s", tc.text, tc.env, err, c)
		}
	}
}

// A number without a unit is seconds, for every time, in the files and in the environment.
func TestSeconds(t *testing.T) {
	base := defaults()
	for _, p := range base.parts() {
		walk(reflect.ValueOf(p.v).Elem(), "", func(key string, field reflect.Value, _ bool) {
			if _, ok := field.Interface().(time.Duration); !ok || key == "limits.room_flush" { // it is 1s at most
				return
			}
			section, name, _ := strings.Cut(key, ".")
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, p.name+".yaml"), []byte(section+":\n  "+name+": 42\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			want, err := Load("", []string{EnvName(p.name, key) + "=42s"})
			if err != nil {
				t.Fatal(err)
			}
			file, err := Load(dir, nil)
			if err != nil || file.String() != want.String() {
				t.Errorf("%s: 42 in a file: %v", key, err)
			}
			env, err := Load("", []string{EnvName(p.name, key) + "=42"})
			if err != nil || !same(env, want) {
				t.Errorf("%s: 42 in the environment: %v", key, err)
			}
		})
	}
	c, err := Load("", []string{"WSFRAME_APP_LIMITS_ROOM_FLUSH=0", "WSFRAME_APP_AUTH_LIFETIME=0"})
	if err != nil || c.App.Limits.RoomFlush != 0 || c.App.Auth.Lifetime != 0 {
		t.Errorf("0: %v\n%s", err, c)
	}
}

// Salvage reads the correct settings of a wrong configuration. Variables count even if a file is
// not YAML.
func TestSalvage(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]int{
		"manager: {port: 7, token: t}\nfoo: 1\noutside: 5\nlimits: {fragments: x}\n": 7, "manager: {port: x, token: t}\n": 20001, "manager: [": 20001,
	} {
		if err := os.WriteFile(filepath.Join(dir, "app.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir, nil); err == nil {
			t.Fatalf("%q is accepted", text)
		}
		c := Salvage(dir, []string{"WSFRAME_APP_MANAGER_HOST=::1", "WSFRAME_APP_NONE=1"})
		if m := c.App.Manager; m.Port != want || m.Host != "::1" || (m.Token == "t") != (text[9] == '{') || c.App.Limits.Fragments != 1024 || c.App.Outside.Port != 20000 {
			t.Errorf("%q: %s", text, c)
		}
	}
	if c := Salvage(filepath.Join(dir, "missing"), nil); !reflect.DeepEqual(c, defaults()) {
		t.Errorf("%s", c)
	}
}

func TestLists(t *testing.T) {
	c, err := Load("", []string{"WSFRAME_CACHE_MASTER_ADDRS= a:1, b:2 ,", "WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_APP_ORIGINS="})
	if err != nil || !reflect.DeepEqual(c.Cache.Master.Addrs, []string{"a:1", "b:2"}) || len(c.App.Origins) != 0 {
		t.Errorf("%v\n%s", err, c)
	}
}

func TestEnvironment(t *testing.T) {
	c, err := Load("", strings.Fields(`WSFRAME_APP_OUTSIDE_HOST=0.0.0.0 WSFRAME_APP_OUTSIDE_PORT=1 WSFRAME_APP_MANAGER_HOST=::1 WSFRAME_APP_MANAGER_PORT=2
		WSFRAME_APP_MANAGER_TOKEN=secret-0123456789 WSFRAME_APP_PUSH_HOST=127.0.0.2 WSFRAME_APP_PUSH_PORT=3 WSFRAME_APP_LIMITS_MESSAGE_RATE=0
		WSFRAME_APP_LIMITS_MAX_CONNECTIONS=7 WSFRAME_APP_AUTH_CHECK=false WSFRAME_APP_AUTH_KEY=0123456789abcdef WSFRAME_APP_AUTH_KEY_3DES=k WSFRAME_APP_AUTH_ACCEPT_3DES=true
		WSFRAME_APP_AUTH_LIFETIME=1h WSFRAME_APP_PROTOCOL_COMPAT=mswoole WSFRAME_APP_PROTOCOL_RECEIVE_ACK=true WSFRAME_APP_PROTOCOL_ESCAPE_HTML=true
		WSFRAME_APP_HEARTBEAT_IDLE=90s WSFRAME_APP_RUNTIME_DIR=/r WSFRAME_CACHE_MASTER_DRIVER=redis WSFRAME_CACHE_MASTER_ADDRS=a:1,b:2 WSFRAME_CACHE_MASTER_SENTINEL_MASTER=s
		WSFRAME_CACHE_MASTER_PASSWORD=p WSFRAME_CACHE_MASTER_DB=4 WSFRAME_CACHE_MASTER_PREFIX=x: WSFRAME_DB_MASTER_DRIVER=mysql WSFRAME_DB_MASTER_DSN=u:p@/dsn HOME=/root`))
	if err != nil {
		t.Fatal(err)
	}
	a, m := c.App, c.Cache.Master
	if a.Outside != (Listen{"0.0.0.0", 1}) || a.Manager.Host != "::1" || a.Manager.Port != 2 || a.Manager.Token != "secret-0123456789" || a.Push.Port != 3 ||
		a.Limits.MessageRate != 0 || a.Limits.MaxConnections != 7 || a.Auth.Check || a.Auth.Key != "0123456789abcdef" || !a.Auth.Accept3DES || a.Auth.Lifetime != time.Hour ||
		a.Heartbeat.Idle != 90*time.Second || a.Runtime.Dir != "/r" || m.Driver != "redis" || len(m.Addrs) != 2 || m.Addrs[1] != "b:2" || m.Password != "p" || m.DB != 4 ||
		m.Prefix != "x:" || c.DB.Master.Driver != "mysql" || c.DB.Master.DSN != "u:p@/dsn" {
		t.Fatalf("%s", c)
	}
	shown := c.String()
	for _, secret := range []string{"secret-0123456789", "0123456789abcdef"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%s is shown", secret)
		}
	}
	if len(c.Warnings()) != 3 /* check, 3DES, rate */ {
		t.Errorf("warnings: %q", c.Warnings())
	}
}

// The output shows whether a secret is set.
func TestShown(t *testing.T) {
	bare, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"app.push.tokens: []\n", "app.manager.token: \n", "app.auth.key: \n"} {
		if !strings.Contains(bare.String(), want) {
			t.Errorf("no line %q", want)
		}
	}
	set, err := Load("", []string{"WSFRAME_APP_PUSH_TOKENS=0123456789abcdef"})
	if err != nil || !strings.Contains(set.String(), "app.push.tokens: (hidden)\n") {
		t.Errorf("%v\n%s", err, set)
	}
}

func TestRefused(t *testing.T) {
	cases := []struct{ name, file, text, env, want string }{
		{"unknown key", "app", "limits:\n  foo: 1\n", "", "limits.foo"},
		{"unknown top key", "cache", "redis: 1\n", "", "unknown key redis"},
		{"unknown key without a value", "app", "limits:\n  foo:\n", "", "app.yaml: unknown key limits.foo"},
		{"unknown env", "", "", "WSFRAME_APP_OUTSIDE_PROT=1", "WSFRAME_APP_OUTSIDE_PROT"},
		{"section with a value", "app", "outside: 5\n", "", "outside: is a section"},
		{"value with a section", "app", "demo:\n  on: true\n", "", "unknown key demo.on"},
		{"empty switch", "", "", "WSFRAME_APP_AUTH_CHECK=", "auth.check (WSFRAME_APP_AUTH_CHECK): \"\" is neither true nor false"},
		{"empty port", "", "", "WSFRAME_APP_OUTSIDE_PORT=", "is no whole number"},
		{"broken number", "app", "limits:\n  message_rate: 1.5\n", "", "limits.message_rate: 1.5 is no whole number"},
		{"a DSN that cannot be parsed", "db", "master:\n  driver: mysql\n  dsn: root:secret@localhost/x\n", "", "master.dsn: the mysql DSN is not"},
		{"no database in a DSN", "db", "master:\n  driver: postgres\n  dsn: \"postgres://root:secret@localhost:port/x\"\n", "", "master.dsn: the postgres DSN cannot be read"},
		{"octal password", "cache", "master:\n  password: 0123\n", "", "master.password: is no text for YAML: put it in quotes"},
		{"number in a list", "app", "origins: [5]\n", "", "origins: entry 1 is no text"},
		{"port from env", "", "", "WSFRAME_APP_PUSH_PORT=-1", "push.port (WSFRAME_APP_PUSH_PORT): -1 is not a port (0-65535)"},
		{"same port", "app", "push:\n  port: 20000\n", "", "push.port: 20000 is outside.port already"},
		{"host with port", "app", "outside:\n  host: 0.0.0.0:80\n", "", "outside.host"},
		{"no threshold any more", "", "", "WSFRAME_APP_COMPRESSION_THRESHOLD=512", "COMPRESSION_THRESHOLD"},
		{"negative skew", "", "", "WSFRAME_APP_AUTH_SKEW=-1s", "auth.skew"},
		{"long 3DES key", "", "", "WSFRAME_APP_AUTH_KEY_3DES=0123456789012345678901234", "auth.key_3des"},
		{"3DES without a key", "", "", "WSFRAME_APP_AUTH_ACCEPT_3DES=true", "auth.key_3des: or auth.key is needed"},
		{"3DES with a long key", "app", "auth: {accept_3des: true, key: k234567890123456789012345}", "", "auth.key_3des: is needed for auth.accept_3des: auth.key has 25 bytes"},
		{"3DES with a short key beside", "app", "auth: {accept_3des: true, key: short, key_3des: k}", "", "auth.key: has 5 bytes"},
		{"origin with a path", "app", "origins: [\"https://a.example/x\"]\n", "", "origins"},
		{"origin with a star", "app", "origins: [\"https://*.a.example\"]\n", "", "origins"},
		{"database of a cluster", "cache", "master: {driver: redis, addrs: [\"a:1\", \"b:1\"], db: 2}\n", "", "master.db"},
		{"prefix", "cache", "master: {prefix: \"a b\"}\n", "", "master.prefix"},
		{"bad port", "app", "outside:\n  port: 70000\n", "", "outside.port: 70000 is not a port (0-65535)"},
		{"port is text", "app", "outside:\n  port: x\n", "", "port"},
		{"no unit behind a fraction", "app", "heartbeat:\n  idle: 60.5\n", "", "60.5 is no time: write 500ms, 25s, 24h, or a number of seconds"},
		{"half a unit", "app", "heartbeat:\n  idle: 60x\n", "", "is no time"},
		{"seconds without an end", "", "", "WSFRAME_APP_HEARTBEAT_IDLE=99999999999999", "is no time"},
		{"not YAML", "db", "a: [", "", "db.yaml"},
		{"idle below ping", "app", "heartbeat:\n  ping: 30s\n  idle: 20s\n", "", "heartbeat.idle: 20s must be longer than heartbeat.ping 30s"},
		{"idle below a ping of the environment", "app", "heartbeat:\n  idle: 20s\n", "WSFRAME_APP_HEARTBEAT_PING=25s", "heartbeat.idle: 20s must be longer"},
		{"idle below what pings can do", "", "", "WSFRAME_APP_HEARTBEAT_IDLE=1s", "heartbeat.idle (WSFRAME_APP_HEARTBEAT_IDLE): 1s must be longer than heartbeat.ping 1s"},
		{"open manager", "app", "manager:\n  host: 0.0.0.0\n", "", "manager.token"},
		{"driver", "db", "master:\n  driver: oracle\n", "", "master.driver"},
		{"proxy", "app", "trusted_proxies: [nginx]\n", "", "nginx"},
		{"compat", "", "", "WSFRAME_APP_PROTOCOL_COMPAT=x", "protocol.compat"},
		{"short key", "", "", "WSFRAME_APP_AUTH_KEY=x", "auth.key"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.file != "" {
				if err := os.WriteFile(filepath.Join(dir, tc.file+".yaml"), []byte(tc.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dir, []string{tc.env})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v, want one that names %q", err, tc.want)
			}
		})
	}
}

// Unusual but valid values are accepted.
func TestAccepted(t *testing.T) {
	for _, text := range []string{
		`outside: {host: "::", port: 0}`, `outside: {host: localhost}`, `origins: ["*"]`, `origins: [a.example, "https://b.example:8443", "http://[::1]:80", "https://c.example/"]`,
		`trusted_proxies: [127.0.0.1, "::1", 10.0.0.0/8]`, `limits: {message_rate: 0, message_burst: 0, refused_rate: 0, max_connections: 0, room_flush: 0s}`,
		`manager: {host: 0.0.0.0, token: 0123456789abcdef}`, `auth: {lifetime: 0s, key_3des: marico-websocket, accept_3des: true}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "app.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWrongName(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.yml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "app.yaml") {
		t.Error(err)
	}
}

// Whatever a file holds, it is accepted or refused, and what is accepted holds what Validate
// promises.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{"", "outside:\n  port: 1\n", "outside: {port: [1]}", "1: 2", "? [a]\n: b", "limits: &a {fragments: 3}\nx: *a", "origins: [{a: b}]", "a.b: 1", "outside.port: 5", "<<: {demo: false}", "\x00", "--- a\n--- b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "app.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(dir, nil)
		if err == nil && (c.App.Outside.Port < 0 || c.App.Outside.Port > 65535 || c.App.Limits.MessageBytes < 1 || c.App.Heartbeat.Idle <= c.App.Heartbeat.Ping) {
			t.Errorf("%q is accepted: %s", text, c)
		}
		if err != nil && !strings.Contains(err.Error(), "app.yaml") {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// same tells whether two configurations have the same settings, wherever they come from.
func same(a, b *Config) bool {
	x, y := *a, *b
	x.files, y.files = nil, nil
	return reflect.DeepEqual(x, y)
}

// The eight variables that Kubernetes sets for a service are ignored, whatever the service's name.
// A misspelt variable is still refused.
func TestServiceLinks(t *testing.T) {
	links := func(service, port string) []string {
		at := "10.0.0.1:" + port
		return []string{
			service + "_SERVICE_HOST=10.0.0.1", service + "_SERVICE_PORT=" + port, service + "_SERVICE_PORT_HTTP_2=" + port,
			service + "_PORT=tcp://" + at, service + "_PORT_" + port + "_TCP=tcp://" + at, service + "_PORT_" + port + "_TCP_PROTO=tcp",
			service + "_PORT_" + port + "_TCP_PORT=" + port, service + "_PORT_" + port + "_TCP_ADDR=10.0.0.1",
		}
	}
	for _, service := range []string{"WSFRAME_APP", "WSFRAME_DB", "WSFRAME_CACHE", "WSFRAME_APP_OUTSIDE", "WSFRAME_APP_PUSH", "WSFRAME_DB_MASTER"} {
		c, err := Load("", append(links(service, "5353"), service+"_PORT_53_UDP=udp://10.0.0.1:53", service+"_PORT_53_UDP_PROTO=udp"))
		if err != nil {
			t.Errorf("%s: %v", service, err)
			continue
		}
		warned := 0
		for _, w := range c.Warnings() {
			if strings.Contains(w, "Kubernetes") && strings.Contains(w, service+"_SERVICE_HOST") && !strings.Contains(w, "\n") {
				warned++
			}
		}
		if d := defaults().App; warned != 1 || c.App.Outside != d.Outside || c.App.Push.Port != d.Push.Port {
			t.Errorf("%s: %d lines, %+v", service, warned, c.App.Outside)
		}
	}
	for _, typo := range []string{
		"WSFRAME_APP_PORT=20000", "WSFRAME_APP_SERVICE_HOSTS=x", "WSFRAME_APP_OUTSIDE_PROT=1", "WSFRAME_DB_PORT=3306", "WSFRAME_APP_OUTSIDE_HOST_PORT=80",
		"WSFRAME_APP_PORT_X_TCP=tcp://10.0.0.1:80", "WSFRAME_APP_OUTSIDE_PORT=http://10.0.0.1:80", "WSFRAME_APP_ORIGINS_TCP=tcp://10.0.0.1:80",
	} {
		if _, err := Load("", []string{typo}); err == nil {
			t.Errorf("%s is ignored", typo)
		}
	}
}

// A reload refuses a configuration in which a file of the start is missing or sets nothing.
func TestKeeps(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() *Config {
		t.Helper()
		c, err := Load(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	write("app.yaml", "demo: false\n")
	write("db.yaml", "# nothing\n")
	before := load().Files()
	if !slices.Equal(before, []string{"app"}) {
		t.Fatal(before)
	}
	for _, text := range []string{"", "\n", "# demo: false\n", "---\n", "\ufeff"} {
		write("app.yaml", text)
		if err := load().Keeps(dir, before); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "app.yaml")+" sets nothing") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "app.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := load().Keeps(dir, before); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Error(err)
	}
	write("app.yaml", "demo: true\n")
	write("cache.yaml", "master: {db: 0}\n")
	if err := load().Keeps(dir, before); err != nil {
		t.Error(err)
	}
}
