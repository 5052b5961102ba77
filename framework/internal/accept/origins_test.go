package accept

import (
	"net/http"
	"strings"
	"testing"
)

// asks returns a handshake's request with those Origin headers; "" = none.
func asks(host, origin string) *http.Request {
	r := &http.Request{Host: host, Header: http.Header{}}
	if origin != "" {
		r.Header["Origin"] = strings.Split(origin, "\n")
	}
	return r
}

// Pages may connect if their host is that of the request, or if they are listed (security rule 4).
func TestOrigins(t *testing.T) {
	for _, tc := range []struct {
		name     string
		list     []string
		noOrigin bool
		allowed  map[string]bool
	}{
		{"default", nil, true, map[string]bool{
			"": true, "http://x": true, "https://X": true, "https://x:443": true, "http://x:80": true, "http://x/": true, "wss://x": true, "ws://x:80": true,
			"http://x:81": false, "http://x:443": false, "https://x:80": false, "http://x.evil": false, "http://y": false, "x": false, "null": false,
			"file://": false, "http://x/path": false, "http://x@y": false, "http://y@x": false, "http://x http://x": false,
			"http://x, http://x": false, "http://x\nhttp://x": false}},
		{"browsers only", nil, false, map[string]bool{"": false, "http://x": true, "http://y": false}},
		{"listed", []string{"https://a.example/", "b.example:81"}, true, map[string]bool{
			"": true, "https://a.example": true, "HTTPS://A.example": true, "https://a.example:443": true, "http://a.example": false,
			"https://a.example:81": false, "http://b.example:81": true, "https://b.example:81": true, "https://b.example": false,
			"http://x": true, "https://x:443": true, "http://x:81": false, "null": false}},
		{"bare host", []string{"c.example"}, true, map[string]bool{"https://c.example": true, "http://c.example:80": true, "http://c.example:443": false}},
		{"listed with its port", []string{"https://d.example:443"}, true, map[string]bool{"https://d.example": true, "http://d.example": false}},
		{"any", []string{"*"}, false, map[string]bool{"": false, "http://y": true, "null": true}},
	} {
		o := newOrigins(tc.list, tc.noOrigin)
		for origin, allowed := range tc.allowed {
			if o.allow(asks("x", origin)) != allowed {
				t.Errorf("%s: origin %q is allowed %t", tc.name, origin, !allowed)
			}
		}
	}
}

// The request's own host is allowed, with or without its port.
func TestOwnOrigin(t *testing.T) {
	o := newOrigins(nil, true)
	for _, tc := range []struct {
		host, origin string
		allowed      bool
	}{
		{"ws.x", "https://ws.x", true}, {"ws.x:443", "https://ws.x", true}, {"WS.x:443", "https://ws.X:443", true}, {"ws.x:80", "http://ws.x", true},
		{"ws.x:8443", "https://ws.x:8443", true}, {"ws.x:8443", "wss://ws.x:8443", true}, {"[::1]:20000", "http://[::1]:20000", true},
		{"ws.x:8443", "https://ws.x", false}, {"ws.x", "https://ws.x:8443", false}, {"ws.x:80", "https://ws.x", false}, {"ws.x.evil", "https://ws.x", false},
	} {
		if o.allow(asks(tc.host, tc.origin)) != tc.allowed {
			t.Errorf("%s at %s is allowed %t", tc.origin, tc.host, !tc.allowed)
		}
	}
}
