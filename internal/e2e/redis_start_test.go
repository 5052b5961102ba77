//go:build e2e && unix

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"wsframe/internal/testserver"
)

// redisAt returns the settings for a Redis at an address or URL.
func redisAt(addr string, more ...string) []string {
	return append([]string{"WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS=" + addr}, more...)
}

// said returns everything that a server printed and logged.
func (s *server) said() string {
	s.t.Helper()
	all := s.out.String()
	files, err := filepath.Glob(filepath.Join(s.dir, "logs", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		all += string(b)
	}
	return all
}

// A Redis with TLS works like any other, and no output or log contains its password.
func TestRedisByTLS(t *testing.T) {
	files, port := testserver.MakeCertificates(t), testserver.FreePort(t)
	r := testserver.StartRedis(t, files.TLSOptions(port)...)
	url := fmt.Sprintf("rediss://default:%s@127.0.0.1:%d/3", r.Password, port)
	own := []string{"WSFRAME_CACHE_MASTER_TLS_CERT=" + files.Cert, "WSFRAME_CACHE_MASTER_TLS_KEY=" + files.Key}
	s := start(t, append(redisAt(url, own...), "WSFRAME_CACHE_MASTER_TLS_CA="+files.CA, "WSFRAME_APP_LOG_LEVEL=debug")...)
	c := dial(t, s.outside, s.token("wechatUser", "1"))
	c.send(`{"method":"live.user.join"}`)
	c.want("userJoinSuccess")
	in3 := redis.NewClient(&redis.Options{Addr: r.Addr, Password: r.Password, DB: 3})
	defer in3.Close()
	until(t, "the room is in database 3", func() bool { return in3.SCard(t.Context(), "LIVE_USER_ROOM_A").Val() == 1 })
	shown := s.ok("-s", "checkconfig")
	for _, want := range []string{fmt.Sprintf("cache.master.addrs: [127.0.0.1:%d]", port), "cache.master.tls: true", "cache.master.password: (hidden)"} {
		if !strings.Contains(shown, want) {
			t.Errorf("checkconfig does not show %s:\n%s", want, shown)
		}
	}
	if strings.Contains(shown+s.said(), r.Password) {
		t.Error("the password is shown")
	}
	for _, env := range [][]string{
		redisAt(url, own...), // signed by an unknown authority
		redisAt(strings.Replace(url, "rediss:", "redis:", 1)),
		redisAt(strings.Replace(url, "@", "x@", 1), append(own, "WSFRAME_CACHE_MASTER_TLS_CA="+files.CA)...),
		redisAt(url + "/x"), redisAt(strings.Replace(url, "127.0.0.1:", "127.0.0.1:x", 1)), redisAt(strings.TrimPrefix(url, "rediss://")),
	} {
		s := prepare(t, env...)
		out, errs, code := s.run("-s", "start")
		if code == 0 || strings.Contains(out+errs+s.said(), r.Password) || errs == "" {
			t.Errorf("%s: exit code %d\n%s%s", strings.ReplaceAll(env[1], r.Password, "PASSWORD"), code, out, errs)
		}
	}
}

// An eviction policy is reported at start and at a reload, and refused if the configuration
// requires it.
func TestEvictionPolicy(t *testing.T) {
	r := testserver.StartRedis(t, "--maxmemory-policy", "volatile-lru")
	admin := redis.NewClient(&redis.Options{Addr: r.Addr, Password: r.Password})
	defer admin.Close()
	ctx := context.Background()
	const strict = "WSFRAME_CACHE_MASTER_STRICT=true"
	password := "WSFRAME_CACHE_MASTER_PASSWORD=" + r.Password
	s := prepare(t, redisAt(r.Addr, password, strict)...)
	_, errs, code := s.run("-s", "start")
	if code == 0 || !strings.Contains(errs, "maxmemory-policy volatile-lru") || !strings.Contains(errs, "cache.master.strict") {
		t.Errorf("strict: exit code %d, %s", code, errs)
	}
	s = start(t, redisAt(r.Addr, password)...)
	if !strings.Contains(s.out.String(), "maxmemory-policy volatile-lru") {
		t.Errorf("no warning in\n%s", s.out)
	}
	if err := admin.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	if s := start(t, redisAt(r.Addr, password, strict)...); strings.Contains(s.out.String(), "maxmemory-policy") {
		t.Errorf("a warning without a reason:\n%s", s.out)
	}
	if err := admin.Do(ctx, "ACL", "SETUSER", "plain", "on", ">plainpassword", "~*", "&*", "+@all", "-info", "-config").Err(); err != nil {
		t.Fatal(err)
	}
	s = start(t, redisAt("redis://plain:plainpassword@"+r.Addr)...)
	if !strings.Contains(s.out.String(), "cannot be told") || !strings.Contains(s.out.String(), "NOPERM") {
		t.Errorf("it is not said that Redis does not tell:\n%s", s.out)
	}
}
