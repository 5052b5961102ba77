package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// isAddress accepts host:port. The caller must not show any other text: it may contain a password.
func isAddress(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !isHost(host) {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// isUserType accepts the types of tokens, and * for all types.
func isUserType(kind string) bool {
	return kind == "*" || kind != "" && len(kind) <= 32 && !strings.ContainsFunc(kind, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:@-", r)
	})
}

// isHeaderName accepts letters, digits and hyphens. RFC 9110 section 5.6.2 allows more, which no
// proxy uses.
func isHeaderName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}

// isHost accepts IP addresses (also IPv6 with a zone) and names, without port and brackets.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return len(host) <= 253 && !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}

// isOrigin accepts values of an Origin header (RFC 6454 section 6.2), a host with or without port,
// and *.
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
