package snapshot

import (
	"context"
	"hash/maphash"
	"slices"
	"time"
)

var seed = maphash.MakeSeed()

func hash(s string) int { return int(maphash.String(seed, s)) }

// The time of a tick is proportional to the number of keys with an expiry. The pause between two
// ticks is so long that they take at most 2% of the time.
const (
	minTick = 50 * time.Millisecond
	share   = 50
)

// expire lets keys and fields of hashes expire until ctx ends. miniredis' own way sorts all keys,
// at each command or under one hold of the lock.
func (s *Store) expire(ctx context.Context) {
	last, pause := time.Now(), minTick
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		now := time.Now()
		held := s.tick(now.Sub(last))
		s.prune()
		last, pause = now, max(minTick, share*held)
	}
}

// expired is a key, or a field of a hash, whose time has passed.
type expired struct {
	id
	field string
	whole bool
}

// tick subtracts the passed time from the remaining time of each key and field, and removes those
// without any. It returns for how long it held the lock.
func (s *Store) tick(passed time.Duration) (took time.Duration) {
	var list []expired
	s.m.Lock()
	begun, slept := time.Now(), time.Duration(0)
	since, seen := begun, 0
	rest := func() {
		if seen++; seen%256 == 0 {
			at := time.Now()
			since = s.breathe(since)
			slept += time.Since(at)
		}
	}
	for number, d := range databases(s.m) {
		ttls, fieldTTLs := d.ttl, d.hashTTLs // FLUSHALL replaces them
		for key, ttl := range ttls {
			if ttls[key] = ttl - passed; ttl <= passed {
				list = append(list, expired{id{number, key}, "", true})
			}
			rest()
		}
		for key, fields := range fieldTTLs {
			for field, ttl := range fields {
				if fields[field] = ttl - passed; ttl <= passed {
					list = append(list, expired{id{number, key}, field, false})
				}
				rest()
			}
		}
	}
	s.held(since)
	s.m.Unlock()
	took = time.Since(begun) - slept
	for part := range slices.Chunk(list, 64) {
		took += s.remove(part)
	}
	return took
}

// remove removes keys and fields, except those that were written again meanwhile.
func (s *Store) remove(list []expired) time.Duration {
	s.m.Lock()
	defer s.m.Unlock()
	now := time.Now()
	for _, e := range list {
		d := databases(s.m)[e.db]
		if d == nil {
			continue
		}
		if ttl, has := d.ttl[e.key]; e.whole && has && ttl <= 0 {
			s.command(e.db, "DEL", e.key)
		}
		if ttl, has := d.hashTTLs[e.key][e.field]; !e.whole && has && ttl <= 0 {
			delete(d.hashTTLs[e.key], e.field)
			s.command(e.db, "HDEL", e.key, e.field)
		}
	}
	s.held(now)
	return time.Since(now)
}

// command runs a command under the lock, as scripts do.
func (s *Store) command(number int, args ...string) {
	connectionOf(s.inner).selectedDB = number
	s.server.Dispatch(s.inner, args)
}

// prune deletes the versions of deleted keys, which miniredis keeps for ever (136 bytes each).
// WATCH uses them, so prune does nothing while a client watches a key.
func (s *Store) prune() {
	s.m.Lock()
	since, seen := time.Now(), 0
	defer func() { s.held(since); s.m.Unlock() }()
	for _, d := range databases(s.m) {
		if len(d.keyVersion)+len(d.lru) < 4*len(d.keys)+2000 {
			continue
		}
		keys := func(key string) (stop bool) {
			if seen++; seen%256 == 0 {
				since = s.breathe(since)
			}
			return s.marks.watched()
		}
		for key := range d.keyVersion {
			if keys(key) {
				return
			}
			if _, there := d.keys[key]; !there {
				delete(d.keyVersion, key)
			}
		}
		for key := range d.lru {
			if keys(key) {
				return
			}
			if _, there := d.keys[key]; !there {
				delete(d.lru, key)
			}
		}
	}
}
