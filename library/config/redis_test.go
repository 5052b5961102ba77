package config

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// certificate writes the certificate of httptest and its key to files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	own := s.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: own.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// URLs in addrs become plain settings, and no output shows their passwords.
func TestRedisURLs(t *testing.T) {
	for _, tc := range []struct {
		addrs, more string
		want        string // addresses, user, password, database, TLS
	}{
		{"redis://h", "", "h:6379   0 false"},
		{"redis://:p%40ss%2Fword@h:7/2", "", "h:7  p@ss/word 2 false"},
		{"rediss://me:secret@[::1]:7", "", "[::1]:7 me secret 0 true"},
		{"rediss://me:secret@a:1,rediss://me:secret@b:2", "", "a:1,b:2 me secret 0 true"},
		{"rediss://me:secret@a:1,b:2,c:3", "", "a:1,b:2,c:3 me secret 0 true"},
		{"a:1,redis://:secret@b:2", "WSFRAME_CACHE_MASTER_SENTINEL_MASTER=m", "a:1,b:2  secret 0 false"},
		{"rediss://a:1", "WSFRAME_CACHE_MASTER_TLS=true", "a:1   0 true"},
		{"redis://:secret@a:1/3", "WSFRAME_CACHE_MASTER_DB=3", "a:1  secret 3 false"},
		{"a:1", "WSFRAME_CACHE_MASTER_TLS=true", "a:1   0 true"},
	} {
		c, err := Load("", []string{"WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS=" + tc.addrs, tc.more})
		if err != nil {
			t.Errorf("%s: %v", tc.addrs, err)
			continue
		}
		m := &c.Cache.Master
		got := strings.Join([]string{strings.Join(m.Addrs, ","), m.Username, m.Password, string(rune('0' + m.DB)), map[bool]string{true: "true", false: "false"}[m.TLS]}, " ")
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.addrs, got, tc.want)
		}
		if shown := strings.ReplaceAll(c.String(), "secret_key", ""); strings.Contains(shown, "p@ss") || strings.Contains(shown, "secret") {
			t.Errorf("%s: a password is shown:\n%s", tc.addrs, shown)
		}
	}
}

// Errors name the setting and show no password.
func TestRedisAddrsRefused(t *testing.T) {
	for _, tc := range []struct{ addrs, more string }{
		{"redis://:s3cret@h:port", ""}, {"redis://:s3cret/x@h:1", ""}, {"redis://:s3cret@h:1/x", ""}, {"redis://:s3cret%zz@h:1", ""}, {"http://:s3cret@h:1", ""},
		{"redis://:s3cret@h:1?pool_size=3", ""}, {"redis://:s3cret@h:1#x", ""}, {"redis://:s3#cret@h:1", ""}, {"unix://:s3cret@/tmp/x", ""}, {"redis:// :s3cret@h", ""},
		{"s3cret@h:1", ""}, {":s3cret@h:1", ""}, {"me:s3cret@h:1", ""}, {"s3cret@h", ""}, {"redis:s3cret@h:1", ""}, {"redis://:s3,cret@h:1", ""}, {"redis//:s3cret@h:1", ""},
		{"redis://:s3cret@a:1,redis://:s3cret2@b:1", ""}, {"redis://me:s3cret@a:1,redis://you:s3cret@b:1", ""},
		{"redis://:s3cret@a:1", "WSFRAME_CACHE_MASTER_PASSWORD=s3cret2"}, {"redis://:s3cret@a:1/2", "WSFRAME_CACHE_MASTER_DB=3"},
		{"redis://:s3cret@a:1", "WSFRAME_CACHE_MASTER_TLS=true"}, {"rediss://:s3cret@a:1,redis://:s3cret@b:1", ""},
		{"rediss://:s3cret@a:1/2,b:1", ""}, // a Redis Cluster has database 0 only
	} {
		_, err := Load("", []string{"WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS=" + tc.addrs, tc.more})
		if err == nil || !strings.Contains(err.Error(), "master.addrs") && !strings.Contains(err.Error(), "master.db") || strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "cret") {
			t.Errorf("%s %s: %v", tc.addrs, tc.more, err)
		}
	}
	for yaml, key := range map[string]string{
		"addrs: [12345678]": "master.addrs", "addrs: 12345678": "master.addrs", "password: 12345678": "master.password", "password: [12345678]": "master.password",
		"addrs: {redis: 12345678}": "master.addrs",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "cache.yaml"), []byte("master:\n  driver: redis\n  "+yaml+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %v", yaml, err)
		}
	}
}

func TestTLSConfig(t *testing.T) {
	cert, key := certificate(t)
	for _, tc := range []struct {
		env  []string
		want string // part of the error
	}{
		{[]string{"TLS=true"}, ""},
		{[]string{"TLS=true", "TLS_CA=" + cert, "TLS_CERT=" + cert, "TLS_KEY=" + key, "TLS_SERVER_NAME=example.com"}, ""},
		{[]string{"TLS_CA=" + cert}, "master.tls: must be true"},
		{[]string{"TLS_SKIP_VERIFY=true"}, "master.tls: must be true"},
		{[]string{"TLS=true", "TLS_CA=/nowhere"}, "tls_ca: open /nowhere"},
		{[]string{"TLS=true", "TLS_CA=" + key}, "holds no certificate"},
		{[]string{"TLS=true", "TLS_CERT=" + cert}, "tls_cert and tls_key"},
		{[]string{"TLS=true", "TLS_CERT=" + key, "TLS_KEY=" + cert}, "tls_cert and tls_key"},
	} {
		env := []string{"WSFRAME_CACHE_MASTER_DRIVER=redis"}
		for _, e := range tc.env {
			env = append(env, "WSFRAME_CACHE_MASTER_"+e)
		}
		c, err := Load("", env)
		if tc.want != "" {
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v: %v", tc.env, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", tc.env, err)
			continue
		}
		o, err := c.Cache.TLSConfig()
		if err != nil || o == nil || o.InsecureSkipVerify || len(tc.env) > 1 && (o.ServerName != "example.com" || o.RootCAs == nil || len(o.Certificates) != 1) {
			t.Errorf("%v: %+v %v", tc.env, o, err)
		}
	}
	if o, err := (&Cache{}).TLSConfig(); o != nil || err != nil {
		t.Errorf("without: %v %v", o, err)
	}
}
