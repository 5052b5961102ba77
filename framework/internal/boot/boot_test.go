package boot

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/process"
	"wsframe/framework/push"
	"wsframe/library/cache"
	"wsframe/library/config"
)

func load(t *testing.T, env ...string) *config.Config {
	t.Helper()
	cfg, err := config.Load(filepath.Join(t.TempDir(), "config"), append(env, "WSFRAME_APP_RUNTIME_DIR="+t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// A configured key is used, else the one in the runtime directory, which the first start makes. A
// published key serves 3DES only.
func TestOpenTokens(t *testing.T) {
	const key = "a key of more than sixteen bytes"
	t.Chdir(t.TempDir())
	for _, tc := range []struct {
		name  string
		env   []string
		used  bool // a file
		notes string
	}{
		{"configured", []string{"WSFRAME_APP_AUTH_KEY=" + key}, false, ""},
		{"none", nil, true, "auth.key is not configured: a random key was made in"},
		{"published", []string{"WSFRAME_APP_AUTH_KEY=marico-websocket", "WSFRAME_APP_PROTOCOL_COMPAT=mswoole"}, true,
			"auth.key is published or short: it is for 3DES tokens only\nw1 tokens have another key: a random key was made in"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := load(t, tc.env...)
			tokens, used, notes, err := OpenTokens(cfg, RuntimeKey(cfg), auth.LoadOrCreateKey)
			if err != nil || (used != "") != tc.used || !strings.HasPrefix(strings.Join(notes, "\n"), tc.notes) || tc.notes == "" && len(notes) > 0 {
				t.Fatalf("%q %q %v", used, notes, err)
			}
			text, err := tokens.Issue(auth.Identity{ID: "7", Type: "wechatUser"})
			if err != nil {
				t.Fatal(err)
			}
			if !tc.used {
				return
			}
			again, _, notes, err := OpenTokens(cfg, RuntimeKey(cfg), auth.LoadKey)
			if err != nil || !strings.Contains(strings.Join(notes, "\n"), " is used") {
				t.Fatalf("%q %v", notes, err)
			}
			if _, err := again.Verify(text); err != nil {
				t.Errorf("the second start has another key: %v", err)
			}
		})
	}
}

// A reload cannot change the runtime directory or the kind of the store, which the master uses.
func TestFixed(t *testing.T) {
	cfg := load(t)
	w := &process.Worker{RuntimeDir: cfg.App.Runtime.Dir, Store: process.Store{Addr: "127.0.0.1:1"}}
	if err := fixed(cfg, w); err != nil {
		t.Error(err)
	}
	w.RuntimeDir += "/other"
	if err := fixed(cfg, w); err == nil || !strings.Contains(err.Error(), "runtime.dir is "+cfg.App.Runtime.Dir+" now") {
		t.Error(err)
	}
	w.RuntimeDir, w.Store.Addr = cfg.App.Runtime.Dir, ""
	if err := fixed(cfg, w); err == nil || !strings.Contains(err.Error(), "master.driver is embedded now") {
		t.Error(err)
	}
}

func TestOneLine(t *testing.T) {
	if OneLine(nil) != nil {
		t.Error("nil is no error")
	}
	if got := OneLine(errors.Join(errors.New("a"), errors.New("b"))).Error(); got != "a; b" {
		t.Error(got)
	}
}

func TestAddress(t *testing.T) {
	if got := address(nil); got != "" {
		t.Error(got)
	}
	for _, host := range []string{"127.0.0.1", "0.0.0.0"} {
		ln, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		got := address(ln)
		if (host == "127.0.0.1") != (got == ln.Addr().String()) {
			t.Errorf("%s: %s", ln.Addr(), got)
		}
		_ = ln.Close()
	}
}

// The errors of the framework have codes on the push port.
func TestErrorCode(t *testing.T) {
	for err, want := range map[error]push.Code{
		framework.ErrNoConnection: push.CodeNoConnection, framework.ErrPartial: push.CodePartial, framework.ErrName: push.CodeBadRequest,
		framework.ErrTooLarge: push.CodeTooLarge, framework.ErrSessionSize: push.CodeLimit, errors.New("x"): push.CodeInternal,
	} {
		if got, _ := (backend{}).ErrorCode(err); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
	if !errors.Is(queued(framework.ErrQueued), push.ErrQueued) || queued(nil) != nil {
		t.Error("queued")
	}
}

// A key of the push port is claimed once, and released by its holder only.
func TestClaims(t *testing.T) {
	e, err := cache.StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	client := redis.NewClient(&redis.Options{Addr: e.Addr(), Password: e.Password(), Protocol: 2})
	defer client.Close()
	s, ctx := store{client, "p:", true}, context.Background()
	claim := func(value, want string) {
		t.Helper()
		if got, err := s.Claim(ctx, "k", []byte(value), time.Minute); err != nil || string(got) != want {
			t.Fatalf("%q %v", got, err)
		}
	}
	claim("a", "")
	claim("b", "a")
	if err := errors.Join(s.Remove(ctx, "k", []byte("b")), s.Durable(ctx)); err != nil {
		t.Fatal(err)
	}
	claim("b", "a")
	if err := s.Remove(ctx, "k", []byte("a")); err != nil {
		t.Fatal(err)
	}
	claim("b", "")
	if err := s.Put(ctx, "k", []byte("c"), time.Minute); err != nil {
		t.Fatal(err)
	}
	claim("d", "c")
}
