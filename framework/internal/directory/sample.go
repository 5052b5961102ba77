package directory

import (
	"context"
	"hash/fnv"
	"slices"

	"wsframe/framework/api"
	"wsframe/framework/internal/ask"
)

// share is the part of one node in the counts.
type share struct {
	Connections int    `json:"c"`
	UIDs        int    `json:"u"`
	Rooms       int    `json:"n"`
	UIDSample   sample `json:"x"`
	RoomSample  sample `json:"y"`
}

func (d *Directory) share() share {
	uids, rooms := d.cfg.Hub.UserNames(), d.cfg.Hub.RoomNames()
	return share{d.cfg.Hub.Len(), len(uids), len(rooms), sampleOf(uids), sampleOf(rooms)}
}

// Counts counts over all nodes.
func (d *Directory) Counts(ctx context.Context) (api.Counts, error) {
	var total api.Counts
	var uids, rooms []sample
	err := ask.All(ctx, d.cfg.Nodes, counts, "", none{}, func(s share) {
		total.Nodes++
		total.Connections += s.Connections
		total.UIDs += s.UIDs
		total.Rooms += s.Rooms
		uids, rooms = append(uids, s.UIDSample), append(rooms, s.RoomSample)
	})
	total.UIDs, total.Rooms = distinct(uids, total.UIDs), distinct(rooms, total.Rooms)
	return total, err
}

// sample stands for a set of names, so that a name that several nodes have counts once. It has
// the hashes of all names, or of one in 2^Level, of 6 bytes each. A sample is small, since it
// goes to every node and stays in Redis for a while.
type sample struct {
	Level  int    `json:"l,omitempty"`
	Hashes []byte `json:"h"` // each one's lowest Level bits are 0
}

const (
	maxSample = 4096 // names that a node counts exactly
	hashBytes = 6
	hashMask  = 1<<(8*hashBytes) - 1
)

func sampleOf(names []string) (s sample) {
	hashes := make([]uint64, len(names))
	for i, name := range names {
		hashes[i] = hashOf(name) & hashMask
	}
	for ; len(hashes) > maxSample; s.Level++ {
		hashes = slices.DeleteFunc(hashes, func(h uint64) bool { return h>>s.Level&1 == 1 })
	}
	s.Hashes = make([]byte, 0, hashBytes*len(hashes))
	for _, h := range hashes {
		for i := range hashBytes {
			s.Hashes = append(s.Hashes, byte(h>>(8*i)))
		}
	}
	return s
}

// distinct is the number of different names in the samples of all nodes, which count sum names
// together. It is exact where each sample has all hashes, else an estimate by one name in
// 2^level.
func distinct(samples []sample, sum int) int {
	level := 0
	for _, s := range samples {
		level = max(level, s.Level)
	}
	if level >= 8*hashBytes {
		return sum
	}
	seen, twice := map[uint64]bool{}, 0
	for _, s := range samples {
		for b := s.Hashes; len(b) >= hashBytes; b = b[hashBytes:] {
			h := uint64(0)
			for i := range hashBytes {
				h |= uint64(b[i]) << (8 * i)
			}
			if h&(1<<level-1) != 0 {
				continue
			}
			if seen[h] {
				twice++
			}
			seen[h] = true
		}
	}
	return max(sum-twice<<level, 0)
}

// hashOf is FNV-1a with its bits mixed. It gives the same on all nodes.
func hashOf(name string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(name))
	h := f.Sum64()
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
