package accept

import (
	"net/netip"
	"sync"
	"time"
)

// addresses counts per client network: handshakes refused lately, and connections open, where that is limited. It is safe for
// concurrent use; its lock is a leaf.
type addresses struct {
	rate  float64 // a second; 0 = off
	conns int     // per network; 0 = off

	mu      sync.Mutex
	clients map[string]*address
	swept   time.Time
}

type address struct {
	tokens float64 // refusals still allowed
	at     time.Time
	open   int
}

func (l *addresses) init(rate, conns int) {
	l.rate, l.conns = float64(rate), conns
	l.clients = map[string]*address{}
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
func (l *addresses) of(addr string, now time.Time) *address {
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
		c = &address{tokens: l.rate, at: now}
		l.clients[addr] = c
		return c
	}
	c.tokens = min(l.rate, c.tokens+now.Sub(c.at).Seconds()*l.rate)
	c.at = now
	return c
}

// refused counts a refusal. It is false where so many from that address were refused lately that this one is answered without a body.
func (l *addresses) refused(addr string) bool {
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
func (l *addresses) entered(addr string) bool {
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

func (l *addresses) left(addr string) {
	if l.conns == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[network(addr)]; c != nil && c.open > 0 {
		c.open--
	}
}
