package main

import (
	"fmt"
	"slices"
	"time"
)

// param is the payload's param.
var param = payload[slices.Index(payload, 'p')+len(`param":`) : len(payload)-1]

// room compares deliveries to a room of all connections: bursts of publishes at an interval.
func (b *bench) room(what string, members, count, burst int, every time.Duration) error {
	p, err := b.staged()
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.gather(members, `{"method":"stage.join","room":"hall"}`); err != nil {
		return err
	}
	deliver := func(s *process, c *crowd, text string) func() (float64, error) {
		return func() (float64, error) {
			return s.each(func() (load, error) {
				_, err := c.run(count, text)
				return load{count: count * members}, err
			})
		}
	}
	return b.compare(what, "µs CPU",
		deliver(p.ours, p.a, fmt.Sprintf(`{"method":"stage.publish","room":"hall","count":%d,"burst":%d,"every":%d,"push":%s}`, count, burst, every.Microseconds(), param)),
		deliver(p.theirs, p.g, fmt.Sprintf("PUBLISH %d %d %d", count, burst, every.Microseconds())))
}

// quietRoom measures P2.
func (b *bench) quietRoom() error {
	for _, members := range []int{1000, 10_000} {
		what := fmt.Sprintf("P2 delivery, %d members, 10 publishes a second", members)
		if err := b.room(what, members, int(b.length.Seconds()*10), 1, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// busyRoom measures P3.
func (b *bench) busyRoom() error {
	seconds := b.length.Seconds()
	if err := b.room("P3 delivery, 1,000 members, bursts of 8, 5 a second", 1000, int(seconds*5)*8, 8, 200*time.Millisecond); err != nil {
		return err
	}
	if err := b.room("P3 delivery, 1,000 members, 500 publishes a second", 1000, int(seconds*500), 1, 2*time.Millisecond); err != nil {
		return err
	}
	return b.room("P3 delivery, 5,000 members, as fast as it goes", 5000, 200, 1, 0)
}
