package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// readURLs turns entries of addrs that are URLs into plain settings: HOST:PORT stays in addrs,
// while user, password, database and TLS go to their own keys. So an output of the configuration or
// of an address never shows a password. Entries that it cannot read remain for validate, which does
// not show them either.
func (c *Cache) readURLs(bad complain) {
	m := &c.Master
	plain := false // an entry is a redis:// URL
	m.Addrs = slices.Clone(m.Addrs)
	for i, addr := range m.Addrs {
		o, err := parseURL(addr)
		if o == nil || err != nil {
			continue
		}
		plain = plain || o.TLSConfig == nil
		m.TLS = m.TLS || o.TLSConfig != nil
		m.Addrs[i] = o.Addr
		for _, s := range []struct {
			key  string
			said string
			into *string
		}{{"username", o.Username, &m.Username}, {"password", o.Password, &m.Password}} {
			if s.said != "" && *s.into != "" && *s.into != s.said {
				bad("cache", "master.addrs", "entry %d has another %s than master.%s or the entries before it", i+1, s.key, s.key)
			}
			if s.said != "" {
				*s.into = s.said
			}
		}
		if o.DB != 0 && m.DB != 0 && o.DB != m.DB {
			bad("cache", "master.addrs", "entry %d has another database than master.db or the entries before it", i+1)
		}
		m.DB = max(m.DB, o.DB)
	}
	if plain && m.TLS {
		bad("cache", "master.addrs", "holds redis://, which is without TLS, beside master.tls or rediss://")
	}
}

// parseURL returns nil for text that is not a URL. A URL may contain only user, password, host,
// port and database; other options have keys of their own.
func parseURL(addr string) (*redis.Options, error) {
	if !strings.Contains(addr, "://") {
		return nil, nil
	}
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("not a URL of a Redis")
	}
	return redis.ParseURL(addr)
}

// TLSConfig returns the TLS configuration for Redis, or nil if Redis is used without TLS.
func (c *Cache) TLSConfig() (*tls.Config, error) {
	m := &c.Master
	if !m.TLS {
		if m.TLSCA+m.TLSCert+m.TLSKey+m.TLSServerName != "" || m.TLSSkipVerify {
			return nil, errors.New("must be true where one of master.tls_* is set")
		}
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: m.TLSServerName, InsecureSkipVerify: m.TLSSkipVerify}
	if m.TLSCA != "" {
		pem, err := os.ReadFile(m.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: %s holds no certificate (PEM)", m.TLSCA)
		}
	}
	if m.TLSCert+m.TLSKey != "" {
		own, err := tls.LoadX509KeyPair(m.TLSCert, m.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("tls_cert and tls_key: %w", err)
		}
		t.Certificates = []tls.Certificate{own}
	}
	return t, nil
}
