package accept

import (
	"net/netip"
	"sync"
	"time"
)

// addresses counts recent refusals and open connections per network, where these are limited. It is
// safe for concurrent use; its lock is a leaf.
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

// maxAddresses bounds the table. Beyond it addresses without connections are forgotten.
const maxAddresses = 100_000

// network returns what is limited as one client: an IPv4 address, or an IPv6 /64, which is the
// least that a customer has.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Is4() {
		return addr
	}
	prefix, _ := ip.WithZone("").Prefix(64) // 64 fits
	return prefix.String()
}

// of returns the entry of that address's network, with its tokens refilled. mu is held.
func (l *addresses) of(addr string, now time.Time) *address {
	addr = network(addr)
	c := l.clients[addr]
	if c == nil {
		if len(l.clients) >= maxAddresses || now.Sub(l.swept) > time.Minute {
			l.swept = now
			for a, old := range l.clients {
				if old.open == 0 && (now.Sub(old.at) > time.Minute || len(l.clients) >= maxAddresses) {
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

// refused counts a refusal. It returns false where the address has had its share of full answers.
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

// entered counts a connection. It returns false where the address has all that it may have.
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
