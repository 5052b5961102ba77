package bus

import (
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/library/cache"
)

// outage is the time since when Redis accepts no messages of a shard. The caller holds shard.mu.
type outage struct {
	since time.Time // zero = it does
	full  bool      // it has no memory
}

// note takes the outcome of a call.
func (o *outage) note(err error) {
	if err == nil {
		o.since = time.Time{}
		return
	}
	if o.since.IsZero() {
		o.since = time.Now()
	}
	o.full = cache.Full(err)
}

// exceeds reports whether the outage has lasted for longer than limit. With full, it counts only
// where Redis has no memory.
func (o *outage) exceeds(limit time.Duration, full bool) bool {
	return (o.full || !full) && !o.since.IsZero() && time.Since(o.since) > limit
}

// untouched reports whether a call that ended with err certainly changed nothing in Redis.
func untouched(err error) bool {
	var reply redis.Error
	var dial *net.OpError
	return errors.Is(err, errDoubt) || errors.As(err, &reply) || errors.As(err, &dial) && dial.Op == "dial"
}
