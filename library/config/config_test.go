package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// The shipped files hold every key, each with a comment in place, and the defaults.
func TestFilesShowAllKeysAndDefaults(t *testing.T) {
	shipped, err := Load("../../config", nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(shipped, bare) {
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
	}
}

func TestEnvironment(t *testing.T) {
	c, err := Load("", strings.Fields(`WSFRAME_APP_OUTSIDE_HOST=0.0.0.0 WSFRAME_APP_OUTSIDE_PORT=1 WSFRAME_APP_MANAGER_HOST=::1 WSFRAME_APP_MANAGER_PORT=2
		WSFRAME_APP_MANAGER_TOKEN=secret-0123456789 WSFRAME_APP_PUSH_HOST=127.0.0.2 WSFRAME_APP_PUSH_PORT=3 WSFRAME_APP_LIMITS_MESSAGE_RATE=0
		WSFRAME_APP_LIMITS_MAX_CONNECTIONS=7 WSFRAME_APP_AUTH_CHECK=false WSFRAME_APP_AUTH_KEY=0123456789abcdef WSFRAME_APP_AUTH_KEY_3DES=k WSFRAME_APP_AUTH_ACCEPT_3DES=true
		WSFRAME_APP_AUTH_LIFETIME=1h WSFRAME_APP_PROTOCOL_COMPAT=mswoole WSFRAME_APP_PROTOCOL_RECEIVE_ACK=true WSFRAME_APP_PROTOCOL_ESCAPE_HTML=true
		WSFRAME_APP_HEARTBEAT_IDLE=90s WSFRAME_APP_RUNTIME_DIR=/r WSFRAME_CACHE_MASTER_DRIVER=redis WSFRAME_CACHE_MASTER_ADDRS=a:1,b:2
		WSFRAME_CACHE_MASTER_PASSWORD=p WSFRAME_CACHE_MASTER_DB=4 WSFRAME_CACHE_MASTER_PREFIX=x: WSFRAME_DB_MASTER_DRIVER=mysql WSFRAME_DB_MASTER_DSN=dsn HOME=/root`))
	if err != nil {
		t.Fatal(err)
	}
	a, m := c.App, c.Cache.Master
	if a.Outside != (Listen{"0.0.0.0", 1}) || a.Manager.Host != "::1" || a.Manager.Port != 2 || a.Manager.Token != "secret-0123456789" || a.Push.Port != 3 ||
		a.Limits.MessageRate != 0 || a.Limits.MaxConnections != 7 || a.Auth.Check || a.Auth.Key != "0123456789abcdef" || !a.Auth.Accept3DES || a.Auth.Lifetime != time.Hour ||
		a.Heartbeat.Idle != 90*time.Second || a.Runtime.Dir != "/r" || m.Driver != "redis" || len(m.Addrs) != 2 || m.Addrs[1] != "b:2" || m.Password != "p" || m.DB != 4 ||
		m.Prefix != "x:" || c.DB.Master.Driver != "mysql" || c.DB.Master.DSN != "dsn" {
		t.Fatalf("%s", c)
	}
	shown := c.String()
	for _, secret := range []string{"secret-0123456789", "0123456789abcdef"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%s is shown", secret)
		}
	}
	if len(c.Warnings()) != 3 {
		t.Errorf("warnings: %q", c.Warnings())
	}
}

func TestRefused(t *testing.T) {
	cases := []struct{ name, file, text, env, want string }{
		{"unknown key", "app", "limits:\n  foo: 1\n", "", "limits.foo"},
		{"unknown top key", "cache", "redis: 1\n", "", "unknown key redis"},
		{"unknown env", "", "", "WSFRAME_APP_OUTSIDE_PROT=1", "WSFRAME_APP_OUTSIDE_PROT"},
		{"bad port", "app", "outside:\n  port: 70000\n", "", "outside.port: 70000 is not a port (0-65535)"},
		{"port is text", "app", "outside:\n  port: x\n", "", "port"},
		{"bare number as time", "app", "heartbeat:\n  idle: 60\n", "", "write 500ms, 25s, 24h"},
		{"not YAML", "db", "a: [", "", "db.yaml"},
		{"idle below ping", "app", "heartbeat:\n  idle: 20s\n", "", "heartbeat.idle"},
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
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want one that names %q", err, tc.want)
			}
		})
	}
}
