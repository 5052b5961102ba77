//go:build e2e && unix

package cache

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"wsframe/internal/testserver"
	"wsframe/library/config"
)

// options are what the configuration makes of these settings of cache.master.
func options(t *testing.T, settings ...string) Options {
	t.Helper()
	env := []string{"WSFRAME_CACHE_MASTER_DRIVER=redis"}
	for _, s := range settings {
		env = append(env, "WSFRAME_CACHE_MASTER_"+s)
	}
	c, err := config.Load("", env)
	if err != nil {
		t.Fatal(err)
	}
	tls, err := c.Cache.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	m := &c.Cache.Master
	return Options{Addrs: m.Addrs, Username: m.Username, Password: m.Password, DB: m.DB, SentinelMaster: m.SentinelMaster, TLS: tls}
}

func reach(t *testing.T, o Options) redis.UniversalClient {
	t.Helper()
	c, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	is(t, c.Set(t.Context(), "k", "v", 0), "OK")
	return c
}

// A server that wants a client's certificate, too; and what is said where something does not fit.
func TestRedisTLS(t *testing.T) {
	files, port := testserver.MakeCertificates(t), testserver.FreePort(t)
	r := testserver.StartRedis(t, files.TLSOptions(port)...)
	url := fmt.Sprintf("ADDRS=rediss://:%s@127.0.0.1:%d/2", r.Password, port)
	ca, cert, key := "TLS_CA="+files.CA, "TLS_CERT="+files.Cert, "TLS_KEY="+files.Key
	for _, settings := range [][]string{
		{url, ca, cert, key},
		{fmt.Sprintf("ADDRS=127.0.0.1:%d", port), "TLS=true", "PASSWORD=" + r.Password, ca, cert, key},
		{url, "TLS_SKIP_VERIFY=true", cert, key},
		{url, "TLS_SERVER_NAME=localhost", ca, cert, key},
		{"ADDRS=redis://:" + r.Password + "@" + r.Addr},
	} {
		if err := reach(t, options(t, settings...)).Close(); err != nil {
			t.Error(err)
		}
	}
	for _, tc := range []struct {
		want     string
		settings []string
	}{
		{"certificate", []string{url, ca}},                                                                            // the server wants ours
		{"unknown authority", []string{url, cert, key}},                                                               // not one of the system's
		{"not example.com", []string{url, ca, cert, key, "TLS_SERVER_NAME=example.com"}},                              // another's certificate
		{"does this port speak TLS?", []string{"ADDRS=rediss://:" + r.Password + "@" + r.Addr, ca, cert, key}},        // a plain port
		{"does this port want TLS?", []string{fmt.Sprintf("ADDRS=redis://:%s@127.0.0.1:%d", r.Password, port)}},       // not a plain one
		{"WRONGPASS", []string{fmt.Sprintf("ADDRS=rediss://:%sx@127.0.0.1:%d", r.Password, port), ca, cert, key}},     // the right way, the wrong password
		{"cannot be reached", []string{fmt.Sprintf("ADDRS=rediss://:%s@127.0.0.1:%d", r.Password, 1), ca, cert, key}}, // nobody
	} {
		c, err := Open(t.Context(), options(t, tc.settings...))
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), r.Password) {
			t.Errorf("%s: %v", tc.want, err)
		}
	}
}

// Sentinels and the servers that they name are both reached by TLS, and so are all of a Redis
// Cluster.
func TestManyByTLS(t *testing.T) {
	files, port := testserver.MakeCertificates(t), testserver.FreePort(t)
	own := []string{"TLS_CA=" + files.CA, "TLS_CERT=" + files.Cert, "TLS_KEY=" + files.Key}
	t.Run("sentinel", func(t *testing.T) {
		r := testserver.StartRedis(t, append(files.TLSOptions(port), "--tls-replication", "yes")...)
		byTLS := *r.Server // as the sentinel is to see it
		byTLS.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		of := testserver.FreePort(t)
		testserver.StartSentinel(t, &testserver.Redis{Server: &byTLS, Password: r.Password}, fmt.Sprintf("tls-port %d", of), "tls-replication yes",
			"tls-ca-cert-file "+files.CA, "tls-cert-file "+files.Cert, "tls-key-file "+files.Key)
		url := fmt.Sprintf("ADDRS=rediss://:%s@127.0.0.1:%d", r.Password, of)
		if err := reach(t, options(t, append(own, url, "SENTINEL_MASTER="+testserver.SentinelMaster)...)).Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		port := testserver.FreePort(t)
		r := testserver.StartRedis(t, append(files.TLSOptions(port), "--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-announce-ip", "127.0.0.1")...)
		url := fmt.Sprintf("rediss://:%s@127.0.0.1:%d", r.Password, port)
		one, err := Open(t.Context(), options(t, append(own, "ADDRS="+url)...))
		if err != nil {
			t.Fatal(err)
		}
		is(t, one.(*redis.Client).ClusterAddSlotsRange(t.Context(), 0, 16383), "OK")
		eventually(t, "the cluster is ready", func() bool { return one.Set(t.Context(), "k", "v", 0).Err() == nil })
		if err := one.Close(); err != nil {
			t.Error(err)
		}
		c := reach(t, options(t, append(own, "ADDRS="+url+","+url)...))
		if _, ok := c.(*redis.ClusterClient); !ok {
			t.Errorf("it is a %T", c)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
