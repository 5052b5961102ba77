package snapshot

import (
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2/hyperloglog"
)

// restore writes a record into the server, which must not have the key yet. A key that expired
// while the server was down is omitted.
func (s *Store) restore(r record, now time.Time) error {
	if r.deadline != 0 && r.deadline <= now.UnixMilli() {
		return nil
	}
	s.m.DB(r.db) // makes it
	s.m.Lock()
	defer s.m.Unlock()
	d := databases(s.m)[r.db]
	switch kinds[r.kind] {
	case "string":
		d.stringKeys[r.key] = r.text
	case "hll":
		sketch := hyperloglog.New14()
		if err := sketch.UnmarshalBinary([]byte(r.text)); err != nil {
			return fmt.Errorf("the hyperloglog %q: %w", r.key, err)
		}
		d.hllKeys[r.key] = &hll{sketch}
	case "hash":
		if !d.restoreHash(r, now) {
			return nil
		}
	case "list":
		d.listKeys[r.key] = r.list
	case "set":
		set := make(map[string]struct{}, len(r.list))
		for _, v := range r.list {
			set[v] = struct{}{}
		}
		d.setKeys[r.key] = set
	case "zset":
		z := make(map[string]float64, len(r.list))
		for i, v := range r.list {
			z[v] = r.scores[i]
		}
		d.sortedsetKeys[r.key] = z
	case "stream":
		d.streamKeys[r.key] = r.stream.restore()
	default:
		return fmt.Errorf("a record of kind %d", r.kind)
	}
	d.keys[r.key], d.lru[r.key] = kinds[r.kind], now
	if r.deadline != 0 {
		d.ttl[r.key] = time.UnixMilli(r.deadline).Sub(now)
	}
	return nil
}

// restoreHash restores the fields that have not expired, and reports whether there are any.
func (d *database) restoreHash(r record, now time.Time) bool {
	h, ttls := make(map[string]string, len(r.list)/2), map[string]time.Duration{}
	for i := 0; i+1 < len(r.list); i += 2 {
		h[r.list[i]] = r.list[i+1]
	}
	for _, f := range r.fields {
		if ttl := time.UnixMilli(f.at).Sub(now); ttl > 0 {
			ttls[f.field] = ttl
		} else {
			delete(h, f.field)
		}
	}
	if len(h) == 0 {
		return false
	}
	d.hashKeys[r.key] = h
	if len(ttls) > 0 {
		d.hashTTLs[r.key] = ttls
	}
	return true
}

func (r *streamRecord) restore() *stream {
	s := &stream{entries: r.entries, groups: map[string]*group{}, lastAllocatedID: r.last}
	for _, from := range r.groups {
		g := &group{stream: s, lastID: from.last, pending: from.pending, consumers: map[string]*consumer{}}
		for _, c := range from.consumers {
			g.consumers[c.name] = &consumer{lastSeen: c.seen, lastSuccess: c.succeeded}
		}
		for _, p := range from.pending {
			if c := g.consumers[p.consumer]; c != nil {
				c.numPendingEntries++
			}
		}
		s.groups[from.name] = g
	}
	return s
}
