package accept

import (
	"net/netip"
	"sync"
	"time"
)

// addresses counts recent refusals and open connections per network, if these are limited. It is
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

// maxAddresses is the size beyond which addresses without connections are removed from the table.
const maxAddresses = 100_000

// network returns the network that is limited as one client: an IPv4 address, or an IPv6 /64, the
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

// refused counts a refusal. The result is false beyond the address's rate of full answers.
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

// entered counts a connection. The result is false beyond the address's limit.
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
