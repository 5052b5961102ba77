package push

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/lograte"
)

// maxAddresses are remembered; beyond that all are forgotten.
const maxAddresses = 10_000

// refusals counts the requests of those who may not call. Tokens are looked at whatever an address did before: the limit is for
// what is refused, so nobody's wrong tokens keep a right one out.
type refusals struct {
	rate int // wrong tokens of one address that are answered as such, a second and at once; 0 = any
	log  *zap.Logger
	line lograte.Limit

	mu        sync.Mutex
	total     map[Code]int64
	addresses map[netip.Prefix]*bucket
}

func newRefusals(rate int, log *zap.Logger) *refusals {
	return &refusals{rate: rate, log: log, total: map[Code]int64{}, addresses: map[netip.Prefix]*bucket{}}
}

// add counts a refusal, and gives what is answered.
func (l *refusals) add(peer string, e *Error) *Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total[e.Code]++
	if n := l.line.Due(time.Now()); n > 0 {
		l.log.Warn("push port: requests are refused", zap.String("code", string(e.Code)), zap.String("why", e.Message), zap.String("peer", peer), zap.Int64("since the last such line", n))
	}
	if e.Code == CodeUnauthorized && !l.of(peer).take(1) {
		return fail(CodeRateLimited, "too many requests without a right token come from this address")
	}
	return e
}

// of is an address's limit, of IPv6 that of its /64: a host has all of one. l.mu is held.
func (l *refusals) of(peer string) *bucket {
	host, _, _ := net.SplitHostPort(peer) // net/http's own
	addr, _ := netip.ParseAddr(host)      // the zero one where it cannot be read: they share a limit
	addr, bits := addr.Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits)
	b := l.addresses[prefix]
	if b == nil {
		if len(l.addresses) >= maxAddresses {
			clear(l.addresses)
		}
		b = newBucket(l.rate)
		l.addresses[prefix] = b
	}
	return b
}

// counts are the refusals of each kind.
func (l *refusals) counts() map[Code]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return map[Code]int64{CodeForbidden: l.total[CodeForbidden], CodeUnauthorized: l.total[CodeUnauthorized]}
}
