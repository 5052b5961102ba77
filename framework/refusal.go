package framework

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// forbiddenBody and the header "message" are the contract's answer to every handshake that is not let in (contract §1).
const forbiddenBody = `{"status":403,"info":"用户权限不足","event":"authError"}`

// answer is a whole HTTP response that ends the connection.
func answer(status int) []byte {
	kind, body, extra := "text/plain", http.StatusText(status)+"\n", ""
	switch status {
	case http.StatusForbidden:
		kind, body, extra = "application/json", forbiddenBody, "message: error auth\r\n"
	case http.StatusServiceUnavailable:
		extra = "Retry-After: 5\r\n"
	}
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n%sContent-Type: %s; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), extra, kind, len(body), body)
	return w.Bytes()
}

// refuse answers and closes. The half-close and the short read let the client see the answer although it may have sent
// more than was read.
func refuse(tcp *net.TCPConn, status int) {
	defer tcp.Close()
	if tcp.SetDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	if _, err := tcp.Write(answer(status)); err != nil || tcp.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, tcp, 64<<10) // until the client closes, or a second has passed
}

// refusals counts per client address: handshakes refused lately, and connections open, where that is limited.
type refusals struct {
	rate  float64 // a second; 0 = off
	conns int     // per address; 0 = off

	mu      sync.Mutex
	clients map[string]*client
	swept   time.Time
}

type client struct {
	tokens float64 // refusals still allowed
	at     time.Time
	open   int
}

func (l *refusals) init(rate, conns int) {
	l.rate, l.conns = float64(rate), conns
	l.clients = map[string]*client{}
}

// maxClients bounds the table; over it the addresses that were refused are forgotten.
const maxClients = 100_000

// of returns the entry of that address, refilled. l.mu is held.
func (l *refusals) of(addr string, now time.Time) *client {
	c := l.clients[addr]
	if c == nil {
		if len(l.clients) >= maxClients || now.Sub(l.swept) > time.Minute {
			l.swept = now
			for a, old := range l.clients {
				if old.open == 0 && (now.Sub(old.at) > time.Minute || len(l.clients) >= maxClients) {
					delete(l.clients, a)
				}
			}
		}
		c = &client{tokens: l.rate, at: now}
		l.clients[addr] = c
		return c
	}
	c.tokens = min(l.rate, c.tokens+now.Sub(c.at).Seconds()*l.rate)
	c.at = now
	return c
}

// blocked tells whether so many handshakes from that address were refused lately that this one is, unread.
func (l *refusals) blocked(addr string) bool {
	if l.rate == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clients[addr] == nil {
		return false
	}
	return l.of(addr, time.Now()).tokens < 1
}

func (l *refusals) refused(addr string) {
	if l.rate == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(addr, time.Now()).tokens--
}

// entered counts a connection; false means that the address has as many as it may have.
func (l *refusals) entered(addr string) bool {
	if l.conns == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(addr, time.Now())
	if c.open >= l.conns {
		return false
	}
	c.open++
	return true
}

func (l *refusals) left(addr string) {
	if l.conns == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[addr]; c != nil && c.open > 0 {
		c.open--
	}
}

// origins is which pages may connect (promises: security rule 4).
type origins struct {
	list     []string
	any      bool
	noOrigin bool
}

func newOrigins(list []string, noOrigin bool) origins {
	o := origins{noOrigin: noOrigin}
	for _, v := range list {
		if v == "*" {
			o.any = true
		}
		o.list = append(o.list, strings.ToLower(strings.TrimSuffix(v, "/")))
	}
	return o
}

// allow checks a handshake's Origin: a listed one ("https://a.example" or just the host), or, where none is listed, the
// host that the request itself names.
func (o *origins) allow(r *http.Request) bool {
	origin := strings.ToLower(r.Header.Get("Origin"))
	if origin == "" {
		return o.noOrigin
	}
	if o.any {
		return true
	}
	_, host, ok := strings.Cut(origin, "://")
	if !ok {
		return false // "null": a sandboxed frame or a local file
	}
	if len(o.list) == 0 {
		return host == strings.ToLower(r.Host)
	}
	for _, v := range o.list {
		if v == origin || v == host {
			return true
		}
	}
	return false
}

// proxies are the peers whose X-Real-IP and X-Forwarded-For are believed (promises: security rule 5).
type proxies []netip.Prefix

func newProxies(list []string) (proxies, error) {
	var p proxies
	for _, v := range list {
		prefix, err := netip.ParsePrefix(v)
		if err != nil {
			addr, err := netip.ParseAddr(v)
			if err != nil {
				return nil, fmt.Errorf("trusted proxy %q is neither an address nor a CIDR", v)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		p = append(p, prefix)
	}
	return p, nil
}

func (p proxies) trusts(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// client is the address that is logged and limited by.
func (p proxies) client(peer net.Addr, h http.Header) string {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return peer.String()
	}
	addr := tcp.AddrPort().Addr().Unmap()
	if len(p) == 0 || !p.trusts(addr) {
		return addr.String()
	}
	if real, err := netip.ParseAddr(strings.TrimSpace(h.Get("X-Real-IP"))); err == nil {
		return real.Unmap().String()
	}
	// The rightmost address that is no proxy of ours: what stands left of it anybody may have written.
	hops := strings.Split(strings.Join(h.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if hop = hop.Unmap(); !p.trusts(hop) {
			return hop.String()
		}
	}
	return addr.String()
}
