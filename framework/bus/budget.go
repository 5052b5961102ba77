package bus

import "sync/atomic"

// budget bounds what waits to be written in all shards together. Methods are safe for concurrent
// use.
type budget struct {
	maxMessages, maxBytes int64
	messages, bytes       atomic.Int64
}

// acquire adds a message, unless that would exceed a bound.
func (b *budget) acquire(bytes int64) bool {
	n, sum := b.messages.Add(1), b.bytes.Add(bytes)
	if n > b.maxMessages || sum > b.maxBytes {
		b.release(1, bytes)
		return false
	}
	return true
}

// add adds a message whatever the bounds are: it was accepted by the previous process.
func (b *budget) add(bytes int64) {
	b.messages.Add(1)
	b.bytes.Add(bytes)
}

// release removes messages that were written, or that never will be.
func (b *budget) release(messages, bytes int64) {
	b.messages.Add(-messages)
	b.bytes.Add(-bytes)
}

// counts are the totals of all shards. Methods are safe for concurrent use.
type counts struct{ sent, read, received, lost atomic.Int64 }

// Stats is what a Bus counts.
type Stats struct {
	Pending  int   // messages that Redis does not have yet
	Sent     int64 // messages that Redis accepted
	Read     int64 // entries that were read: those of rooms without members here are not
	Received int64 // messages given to Receive
	Lost     int64 // messages that Redis refused for good, or that a reader was too late for
	Shards   int
}
