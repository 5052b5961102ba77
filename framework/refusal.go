package framework

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

// forbiddenBody and the header "message" are the contract's answer to every handshake that is not let in (contract §1).
const forbiddenBody = `{"status":403,"info":"用户权限不足","event":"authError"}`

// refusalOf is why a handshake is not let in. reason is the server's own text, cause is for the log.
type refusalOf struct {
	status int
	reason string
	remote string
	cause  error
}

// response is a whole HTTP response that ends the connection. A client is told only what is wrong with its request: whoever may not come in
// learns nothing about why. bare leaves out the body.
func (r *refusalOf) response(bare bool) []byte {
	kind, body, extra := "text/plain", http.StatusText(r.status)+"\n", ""
	switch r.status {
	case http.StatusForbidden:
		kind, body, extra = "application/json", forbiddenBody, "message: error auth\r\n"
	case http.StatusServiceUnavailable:
		extra = "Retry-After: 5\r\n"
	case http.StatusBadRequest:
		body = http.StatusText(r.status) + ": " + r.reason + "\n"
		if r.reason == reasonVersion { // RFC 6455 section 4.4
			extra = "Sec-WebSocket-Version: 13\r\n"
		}
	}
	if bare {
		body = ""
	}
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n%sContent-Type: %s; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		r.status, http.StatusText(r.status), extra, kind, len(body), body)
	return w.Bytes()
}

// refuseHandshake counts, logs once a minute, answers and closes. Beyond limits.refused_rate a 403 is bare, and is not waited for.
func (a *App) refuseHandshake(tcp *net.TCPConn, r refusalOf) {
	defer tcp.Close()
	if n := a.refused.note(r.status, r.reason, time.Now()); n > 0 {
		a.log.Warn("handshake refused", zap.Int("status", r.status), zap.String("reason", r.reason), zap.Int64("since_last", n),
			zap.String("remote", r.remote), zap.Error(r.cause))
	}
	bare := r.status == http.StatusForbidden && !a.refusals.take(r.remote)
	if tcp.SetDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	if _, err := tcp.Write(r.response(bare)); err != nil || tcp.CloseWrite() != nil || bare || a.stopping.Load() {
		return
	}
	// The client sees the answer although it may have sent more than was read: what is closed with unread bytes is reset.
	_, _ = io.CopyN(io.Discard, tcp, 64<<10) // until the client closes, or a second has passed
}

// refusals counts per client network: handshakes refused lately, and connections open, where that is limited.
type refusals struct {
	rate  float64 // a second; 0 = off
	conns int     // per network; 0 = off

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

// network is what is limited as one client: an IPv4 address, or the /64 that an IPv6 customer has at least, all of whose addresses are his.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Is4() {
		return addr
	}
	prefix, _ := ip.WithZone("").Prefix(64) // 64 fits
	return prefix.String()
}

// of returns the entry of that address's network, refilled. l.mu is held.
func (l *refusals) of(addr string, now time.Time) *client {
	addr = network(addr)
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

// take counts a refusal. It is false where so many from that address were refused lately that this one is answered without a body.
func (l *refusals) take(addr string) bool {
	if l.rate == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(addr, time.Now())
	if c.tokens < 1 {
		return false
	}
	c.tokens--
	return true
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
	if c := l.clients[network(addr)]; c != nil && c.open > 0 {
		c.open--
	}
}
