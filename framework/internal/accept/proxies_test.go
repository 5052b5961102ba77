package accept

import (
	"net"
	"net/http"
	"strings"
	"testing"
)

// One header is trusted, from trusted peers only, and in a list the rightmost address that is no
// trusted proxy.
func TestClientAddress(t *testing.T) {
	loopback, own := []string{"127.0.0.1"}, []string{"127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"}
	const realIP, forwardedFor, forwarded = "X-Real-IP", "X-Forwarded-For", "Forwarded"
	for _, tc := range []struct {
		name       string
		trusted    []string
		header     string
		lines      string // of the request's head
		remote     string
		unreadable bool
	}{
		{"nobody is trusted", nil, realIP, "X-Real-IP: 10.9.8.7|X-Forwarded-For: 10.9.8.7", "127.0.0.1", false},
		{"another is trusted", []string{"192.0.2.1"}, realIP, "X-Real-IP: 10.9.8.7", "127.0.0.1", false},
		{"no header", loopback, realIP, "", "127.0.0.1", false},
		{"real ip", loopback, realIP, "X-Real-IP: 10.9.8.7", "10.9.8.7", false},
		{"only the chosen one", loopback, realIP, "X-Forwarded-For: 8.8.8.8", "127.0.0.1", false},
		{"the client's own real ip", loopback, forwardedFor, "X-Real-IP: 1.1.1.1|X-Forwarded-For: 8.8.8.8", "8.8.8.8", false},
		{"the client's own list", loopback, realIP, "X-Forwarded-For: 1.1.1.1|X-Real-IP: 8.8.8.8", "8.8.8.8", false},
		{"another header, in another case", loopback, "cf-connecting-ip", "Cf-Connecting-Ip: 8.8.8.8|X-Real-IP: 1.1.1.1", "8.8.8.8", false},
		{"the last of several", loopback, realIP, "X-Real-IP: 1.1.1.1|X-Real-IP: 8.8.8.8", "8.8.8.8", false},
		{"real ip is none", loopback, realIP, "X-Real-IP: me", "127.0.0.1", true},
		{"empty", loopback, realIP, "X-Real-IP: ", "127.0.0.1", true},
		{"with a port", loopback, realIP, "X-Real-IP: 8.8.8.8:4711", "8.8.8.8", false},
		{"v6", loopback, realIP, "X-Real-IP: 2001:db8:1::1", "2001:db8:1::1", false},
		{"v6 in brackets", loopback, realIP, "X-Real-IP: [2001:db8:1::1]", "2001:db8:1::1", false},
		{"v6 with a port", loopback, realIP, "X-Real-IP: [2001:DB8:1:0::1]:4711", "2001:db8:1::1", false},
		{"v6 with a zone", loopback, realIP, "X-Real-IP: [fe80::1%eth0]:1", "fe80::1", false},
		{"v4 in brackets", loopback, realIP, "X-Real-IP: [8.8.8.8]", "127.0.0.1", true},
		{"bracket stays open", loopback, realIP, "X-Real-IP: [2001:db8::1", "127.0.0.1", true},
		{"no port", loopback, realIP, "X-Real-IP: 8.8.8.8:", "127.0.0.1", true},
		{"a name for a port", loopback, realIP, "X-Real-IP: 8.8.8.8:http", "127.0.0.1", true},
		{"behind the bracket", loopback, realIP, "X-Real-IP: [2001:db8::1]x", "127.0.0.1", true},
		{"the last hop", loopback, forwardedFor, "X-Forwarded-For: 1.1.1.1, 8.8.8.8", "8.8.8.8", false},
		{"hops with ports", own, forwardedFor, "X-Forwarded-For: 1.1.1.1:1, 8.8.8.8:2,10.0.0.2:3, [2001:db8::1]:4", "8.8.8.8", false},
		{"on several lines", own, forwardedFor, "X-Forwarded-For: 1.1.1.1|X-Forwarded-For: 8.8.8.8|X-Forwarded-For: 10.0.0.2", "8.8.8.8", false},
		{"nothing but own hops", own, forwardedFor, "X-Forwarded-For: 10.0.0.3, 10.0.0.2", "127.0.0.1", false},
		{"garbage ends the way", own, forwardedFor, "X-Forwarded-For: 8.8.8.8, unknown, 10.0.0.2", "127.0.0.1", true},
		{"v4 in v6", own, forwardedFor, "X-Forwarded-For: ::ffff:8.8.8.8, ::ffff:10.0.0.2", "8.8.8.8", false},
		{"forwarded", loopback, forwarded, "Forwarded: for=8.8.8.8;proto=https;by=10.0.0.1", "8.8.8.8", false},
		{"forwarded, quoted", loopback, forwarded, `Forwarded: By=1.1.1.1; FOR="[2001:db8:1::1]:4711"`, "2001:db8:1::1", false},
		{"forwarded, hidden port", loopback, forwarded, `Forwarded: for="8.8.8.8:_gazonk"`, "8.8.8.8", false},
		{"forwarded, several", own, forwarded, `Forwarded: for=1.1.1.1, for="8.8.8.8:1";host="a,b;c", for=10.0.0.2`, "8.8.8.8", false},
		{"forwarded, several lines", own, forwarded, `Forwarded: for=1.1.1.1, for=8.8.8.8|Forwarded: for="[2001:db8::1]"`, "8.8.8.8", false},
		{"forwarded, unknown", loopback, forwarded, "Forwarded: for=unknown", "127.0.0.1", true},
		{"forwarded, hidden", loopback, forwarded, "Forwarded: for=8.8.8.8, for=_secret", "127.0.0.1", true},
		{"forwarded, no for", loopback, forwarded, "Forwarded: for=8.8.8.8, proto=https", "127.0.0.1", true},
		{"forwarded, twice in one", loopback, forwarded, "Forwarded: for=8.8.8.8;for=1.1.1.1", "127.0.0.1", true},
		{"a quotation swallows the proxy's", loopback, forwarded, `Forwarded: for=1.1.1.1;x=", for=8.8.8.8`, "127.0.0.1", true},
		{"and ends in the proxy's", loopback, forwarded, `Forwarded: for=1.1.1.1;x=", for="[2001:db8:1::1]:1"`, "127.0.0.1", true},
		{"and closes before it", loopback, forwarded, `Forwarded: for=1.1.1.1;x=", for="a"`, "127.0.0.1", true},
		{"in the client's own line", loopback, forwarded, `Forwarded: for=1.1.1.1;x="|Forwarded: for=8.8.8.8`, "8.8.8.8", false},
		{"forwarded is not chosen", loopback, realIP, "Forwarded: for=8.8.8.8", "127.0.0.1", false},
	} {
		p, err := newProxies(tc.trusted, tc.header)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		for line := range strings.SplitSeq(tc.lines, "|") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				h.Add(name, value)
			}
		}
		remote, unreadable := p.client(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, h)
		if empty := tc.name == "empty"; remote != tc.remote || (unreadable != "") != (tc.unreadable && !empty) {
			t.Errorf("%s: %s, unreadable %q", tc.name, remote, unreadable)
		}
	}
}

// The address that a trusted proxy appends wins over anything that the client writes.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{`for=1.1.1.1`, `for="1.1.1.1`, `x=","`, `for="\"`, `,;=`, `for=1.1.1.1;x="`} {
		f.Add(s)
	}
	p, err := newProxies([]string{"127.0.0.1"}, "Forwarded")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, client string) {
		for _, own := range []string{"for=8.8.8.8", `for="8.8.8.8:1";proto=https`, `proto="https";for=8.8.8.8`} {
			addr, unreadable := p.hop([]string{client + ", " + own})
			if got := addr.String(); got != "8.8.8.8" && unreadable == "" {
				t.Errorf("%q: %s", client, got)
			}
		}
	})
}
