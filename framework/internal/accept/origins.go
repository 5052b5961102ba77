package accept

import (
	"net/http"
	"net/url"
	"strings"
)

// origins decides by a handshake's Origin header which pages may connect (security rule 4). It is
// immutable, so it is safe for concurrent use.
type origins struct {
	list     []origin
	any      bool
	noOrigin bool
}

// origin is the scheme, host and port of a page (RFC 6454 §4), or of an entry of the list. An entry
// without a scheme matches every scheme.
type origin struct{ scheme, host, port string }

func newOrigins(list []string, noOrigin bool) origins {
	o := origins{noOrigin: noOrigin}
	for _, v := range list {
		if v == "*" {
			o.any = true
			continue
		}
		if one, ok := parseOrigin(v); ok {
			o.list = append(o.list, one)
		}
	}
	return o
}

// parseOrigin reads an Origin header, an entry of the list, or a Host header, and fills in the
// default port of the scheme.
func parseOrigin(text string) (o origin, ok bool) {
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return o, false
	}
	o = origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	return o, true
}

func defaultPort(scheme string) string {
	switch scheme {
	case "https", "wss":
		return "443"
	case "http", "ws":
		return "80"
	}
	return ""
}

// covers reports whether the page's origin matches o. A scheme or port that o lacks matches any.
func (o origin) covers(page origin) bool {
	port := o.port
	if port == "" {
		port = defaultPort(page.scheme)
	}
	return o.host == page.host && port == page.port && (o.scheme == "" || o.scheme == page.scheme)
}

// allow accepts the origins of the list and that of the host which the request names. Browsers send
// one Origin, so several are refused.
func (o *origins) allow(r *http.Request) bool {
	values := r.Header["Origin"]
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return o.noOrigin
	}
	if o.any {
		return true
	}
	page, ok := parseOrigin(values[0])
	if !ok || len(values) > 1 || page.scheme == "" { // "null": a sandboxed frame or a local file
		return false
	}
	if own, ok := parseOrigin(r.Host); ok && own.covers(page) {
		return true
	}
	for _, listed := range o.list {
		if listed.covers(page) {
			return true
		}
	}
	return false
}
