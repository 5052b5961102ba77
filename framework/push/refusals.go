package push

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/lograte"
)

// maxAddresses have a limit each; one more, and all begin anew.
const maxAddresses = 10_000

// refusals counts, logs and limits the requests of those who may not call. The limit concerns
// refused requests alone, so that wrong tokens from an address keep no right one out.
type refusals struct {
	rate int // wrong tokens a second of one address that get CodeUnauthorized; 0 = any
	log  *zap.Logger
	line lograte.Limit

	mu        sync.Mutex
	total     map[Code]int64
	addresses map[netip.Prefix]*bucket
}

func newRefusals(rate int, log *zap.Logger) *refusals {
	return &refusals{rate: rate, log: log, total: map[Code]int64{}, addresses: map[netip.Prefix]*bucket{}}
}

// add counts a refusal and returns the error of its response.
func (l *refusals) add(peer string, e *Error) *Error {
	if n := l.line.Due(time.Now()); n > 0 {
		l.log.Warn("push port: requests are refused", zap.String("code", string(e.Code)), zap.String("why", e.Message), zap.String("peer", peer), zap.Int64("since the last such line", n))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total[e.Code]++
	if e.Code == CodeUnauthorized && !l.of(peer).allow(1) {
		return fail(CodeRateLimited, "too many requests without a right token come from this address")
	}
	return e
}

// of returns the limit of an address. Those of one IPv6 /64 share a limit, since a host has a whole
// one. l.mu is held.
func (l *refusals) of(peer string) *bucket {
	host, _, _ := net.SplitHostPort(peer) // net/http has made it
	addr, _ := netip.ParseAddr(host)      // all that cannot be parsed share a limit
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

// counts returns the refusals by their code.
func (l *refusals) counts() map[Code]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return map[Code]int64{CodeForbidden: l.total[CodeForbidden], CodeUnauthorized: l.total[CodeUnauthorized]}
}
