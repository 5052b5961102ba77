package accept

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies finds the client's address behind trusted proxies (security rule 5). Only one header is
// trusted, since proxies forward all others as the client has written them.
type proxies struct {
	peers  []netip.Prefix
	header string // in its canonical form
}

func newProxies(list []string, header string) (p proxies, err error) {
	p.header = http.CanonicalHeaderKey(header)
	for _, v := range list {
		prefix, err := netip.ParsePrefix(v)
		if err != nil {
			addr, err := netip.ParseAddr(v)
			if err != nil {
				return p, fmt.Errorf("trusted proxy %q is neither an address nor a CIDR", v)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		p.peers = append(p.peers, prefix)
	}
	return p, nil
}

func (p *proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.peers, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// client returns the address for logs and limits. unreadable is the value of a trusted header in
// which no address was found; the result is the proxy's address then.
func (p *proxies) client(peer net.Addr, h http.Header) (addr, unreadable string) {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return peer.String(), ""
	}
	near := tcp.AddrPort().Addr().Unmap()
	if len(p.peers) == 0 || !p.trusts(near) {
		return near.String(), ""
	}
	far, unreadable := p.hop(h[p.header])
	if !far.IsValid() {
		far = near
	}
	return far.String(), unreadable
}

// hop returns the client's address from the header's values. In a list that is the rightmost
// address which is no trusted proxy, since the client may have written everything to the left of
// it.
func (p *proxies) hop(values []string) (addr netip.Addr, unreadable string) {
	if p.header != "X-Forwarded-For" && p.header != "Forwarded" {
		if len(values) == 0 {
			return addr, ""
		}
		last := values[len(values)-1]
		if addr, ok := parseHop(last); ok {
			return addr, ""
		}
		return addr, last
	}
	for _, line := range slices.Backward(values) {
		list, ok := strings.Split(line, ","), true
		if p.header == "Forwarded" {
			list, ok = forwardedFor(line)
		}
		if !ok {
			return netip.Addr{}, line
		}
		for _, text := range slices.Backward(list) {
			addr, ok := parseHop(text)
			switch {
			case !ok:
				return netip.Addr{}, line
			case !p.trusts(addr):
				return addr, ""
			}
		}
	}
	return netip.Addr{}, ""
}

// parseHop reads an address as proxies write it: 192.0.2.1, 192.0.2.1:4711, 2001:db8::1,
// [2001:db8::1] or [2001:db8::1]:4711.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	host, port := text, ""
	if inner, isV6 := strings.CutPrefix(text, "["); isV6 {
		var closed bool
		if host, port, closed = strings.Cut(inner, "]"); !closed || port != "" && port[0] != ':' || !strings.Contains(host, ":") {
			return netip.Addr{}, false
		}
	} else if strings.Count(text, ":") == 1 {
		i := strings.IndexByte(text, ':')
		host, port = text[:i], text[i:]
	}
	addr, err := netip.ParseAddr(host)
	return addr.Unmap().WithZone(""), err == nil && (port == "" || isPort(port[1:]))
}

// isPort accepts numbers, and the identifiers that hide a port (RFC 7239 §6).
func isPort(text string) bool {
	return text != "" && (text[0] == '_' || !strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }))
}

// forwardedFor returns the for= of each element of a Forwarded header (RFC 7239 §4), "" for an
// element without one. ok is false for an unbalanced quotation, with which a client could hide what
// the proxy appends.
func forwardedFor(line string) (list []string, ok bool) {
	elements, ok := splitQuoted(line, ',')
	for _, element := range elements {
		pairs, _ := splitQuoted(element, ';') // balanced like the whole line
		address, known := "", false
		for _, pair := range pairs {
			name, value, _ := strings.Cut(pair, "=")
			value, whole := bareValue(strings.TrimSpace(value))
			isFor := strings.EqualFold(strings.TrimSpace(name), "for")
			if !whole || isFor && known {
				return nil, false
			}
			if isFor {
				address, known = value, true
			}
		}
		list = append(list, address)
	}
	return list, ok
}

// splitQuoted splits at separators outside quoted strings (RFC 9110 §5.6.4). ok is false for an
// unbalanced quotation.
func splitQuoted(text string, separator byte) (parts []string, ok bool) {
	from, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == separator && !quoted:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	return append(parts, text[from:]), !quoted
}

// bareValue returns a token as it is, and a quoted string without its quotes. A backslash is
// refused, since addresses need no escapes.
func bareValue(value string) (string, bool) {
	if inner, quoted := strings.CutPrefix(value, `"`); quoted {
		value, quoted = strings.CutSuffix(inner, `"`)
		if !quoted {
			return "", false
		}
	}
	return value, !strings.ContainsAny(value, `"\`)
}
