package frame

import (
	"hash/maphash"
	"sync"
)

// fewKeys is the number of top-level keys that are compared one by one. More are hashed, so that
// the time grows with the number of keys only.
const fewKeys = 16

// keySet holds the top-level keys read so far. It points into the decoded bytes.
type keySet struct {
	n    int
	few  [fewKeys][]byte
	many *keyTable
}

// add adds key and reports whether it is new.
func (k *keySet) add(key []byte) bool {
	if k.many != nil {
		return k.many.add(key)
	}
	for _, known := range k.few[:k.n] {
		if string(known) == string(key) {
			return false
		}
	}
	if k.n < fewKeys {
		k.few[k.n] = key
		k.n++
		return true
	}
	k.many = keyTables.Get().(*keyTable)
	for _, known := range k.few {
		k.many.add(known)
	}
	return k.many.add(key)
}

// release returns the table to its pool.
func (k *keySet) release() {
	if k.many != nil {
		k.many.clear()
		keyTables.Put(k.many)
	}
}

// keyTable is a hash table with open addressing, at most half full.
type keyTable struct {
	slots []uint32 // index in keys + 1; 0 = free
	keys  [][]byte
}

var (
	keyTables = sync.Pool{New: func() any { return &keyTable{slots: make([]uint32, 8*fewKeys)} }}
	keySeed   = maphash.MakeSeed()
)

func (t *keyTable) add(key []byte) bool {
	if 2*(len(t.keys)+1) > len(t.slots) {
		t.slots = make([]uint32, 4*len(t.slots))
		for i, known := range t.keys {
			*t.slot(known) = uint32(i + 1)
		}
	}
	slot := t.slot(key)
	if *slot != 0 {
		return false
	}
	t.keys = append(t.keys, key)
	*slot = uint32(len(t.keys))
	return true
}

// slot returns the slot of the key, or the free one where it belongs.
func (t *keyTable) slot(key []byte) *uint32 {
	mask := uint64(len(t.slots) - 1)
	for i := maphash.Bytes(keySeed, key) & mask; ; i = (i + 1) & mask {
		if at := t.slots[i]; at == 0 || string(t.keys[at-1]) == string(key) {
			return &t.slots[i]
		}
	}
}

func (t *keyTable) clear() {
	clear(t.slots)
	clear(t.keys)
	t.keys = t.keys[:0]
}
