package push

import (
	"time"

	"golang.org/x/time/rate"
)

// bucket bounds the requests of a second; as many may come at once.
type bucket struct{ limiter *rate.Limiter }

// newBucket makes a full bucket; 0 allows any number.
func newBucket(perSecond int) *bucket {
	if perSecond == 0 {
		return &bucket{rate.NewLimiter(rate.Inf, 0)}
	}
	return &bucket{rate.NewLimiter(rate.Limit(perSecond), perSecond)}
}

// allow lets n requests in, or none. A batch that is larger than the bucket enters when that is
// full, and leaves it in debt.
func (b *bucket) allow(n int) bool {
	now, burst := time.Now(), b.limiter.Burst()
	if b.limiter.Limit() == rate.Inf {
		return true
	}
	if !b.limiter.AllowN(now, min(n, burst)) {
		return false
	}
	for n -= burst; n > 0; n -= burst {
		b.limiter.ReserveN(now, min(n, burst))
	}
	return true
}
