package bus

import "time"

// The bounds of a retention. With appendfsync everysec Redis has written to disk within 2 s.
const (
	retainTime  = 3 * time.Second
	retainBytes = 4 << 20
)

// retention keeps the messages that Redis accepted a moment ago, until they are on its disk: a
// Redis that returns with older data gets them again. It belongs to the writer, and to Suspend
// while no writer runs.
type retention struct {
	known  int64   // the highest number that Redis has of this sender, as far as is known
	items  []*item // oldest first
	bytes  int     // of items
	resend []*item // those of items that Redis has lost
}

// add keeps what Redis accepted at a call that began then.
func (r *retention) add(items []*item, begun time.Time) {
	r.known = items[len(items)-1].number
	if len(r.resend) > 0 {
		return // they are kept already
	}
	for _, it := range items {
		it.written = begun
		r.bytes += it.size()
	}
	r.items = append(r.items, items...)
	drop := 0
	for ; r.bytes > retainBytes; drop++ {
		r.bytes -= r.items[drop].size()
	}
	r.discard(drop)
}

// expire drops what Redis still has after retainTime.
func (r *retention) expire(now time.Time) {
	if len(r.resend) > 0 {
		return
	}
	drop := 0
	for ; drop < len(r.items) && now.Sub(r.items[drop].written) >= retainTime; drop++ {
		r.bytes -= r.items[drop].size()
	}
	r.discard(drop)
}

// rewind notes that Redis has messages only up to number had, and selects those to be sent again.
// It returns how many numbers Redis has lost.
func (r *retention) rewind(had int64) (lost int64) {
	r.resend = nil
	for i, it := range r.items {
		if it.number > had {
			r.resend = append([]*item(nil), r.items[i:]...)
			break
		}
	}
	lost, r.known = r.known-had, had
	return lost
}

func (r *retention) discard(n int) {
	clear(r.items[:n])
	if r.items = r.items[n:]; len(r.items) == 0 {
		r.items = nil
	}
}
