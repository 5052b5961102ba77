package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	slice   = time.Millisecond // longest hold of the lock
	few     = 16               // keys that the last slice of a save may copy
	rounds  = 8                // after which the last slice copies all remaining keys
	batch   = 1 << 20          // bytes encoded at a time
	growth  = 3                // size of a file in bases at which a new one is written
	minBase = 1 << 20          // bytes
	newFile = ".new"           // suffix of an incomplete new file
)

var errNoFile = errors.New("the store is not on the disk: the last attempt to write it failed")

// Save appends the keys that were written since the last save.
func (s *Store) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.file == nil {
		return errNoFile
	}
	return s.append(frameCommit)
}

// append saves into the file. saving is held.
func (s *Store) append(kind byte) error {
	w := newFrameWriter(s.file)
	taken := s.pass(w, s.written, kind)
	if w.size == 0 && w.err == nil {
		return nil
	}
	err := w.err
	if err == nil {
		err = w.w.Flush()
	}
	if err == nil {
		if err = s.file.Sync(); err == nil {
			s.size += w.size
			return nil
		}
		// After a failed sync the content of the file is unknown.
		_ = s.file.Close()
		s.file = nil
	}
	s.marks.putBack(s.written, taken)
	s.waits = nil
	if s.file != nil && s.rewind() != nil {
		_ = s.file.Close()
		s.file = nil
	}
	return fmt.Errorf("save the store: %w", err)
}

// rewind removes an incomplete save from the end of the file.
func (s *Store) rewind() error {
	if err := s.file.Truncate(s.size); err != nil {
		return err
	}
	_, err := s.file.Seek(s.size, io.SeekStart)
	return err
}

// rewrite writes all keys into a new file while saves go to the old one, then replaces that.
func (s *Store) rewrite(kind byte) error {
	path := s.path + newFile
	f, err := s.create(path)
	if err != nil {
		return fmt.Errorf("save the store: %w", err)
	}
	written := s.marks.track()
	w := newFrameWriter(f)
	w.bytes([]byte(magic))
	s.inParts(w, s.allKeys())
	if err = w.sync(f); err == nil { // the rest is short
		s.saving.Lock()
		defer s.saving.Unlock()
		err = s.replace(w, f, written, kind)
	}
	if err != nil {
		s.marks.untrack(written)
		_ = f.Close()
		_ = os.Remove(path)
		return fmt.Errorf("save the store: %w", err)
	}
	return nil
}

// replace completes the new file and gives it the old one's name. saving is held.
func (s *Store) replace(w *frameWriter, f file, written *tracker, kind byte) error {
	s.pass(w, written, kind)
	if err := w.sync(f); err != nil {
		return err
	}
	if err := os.Rename(s.path+newFile, s.path); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		return err
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	s.marks.untrack(s.written)
	s.file, s.written, s.base, s.size = f, written, w.size, w.size
	return nil
}

// pass writes the tracked keys, then a frame of that kind. Without tracked keys it writes only a
// frame of the kind frameEnd. It returns the keys that it has removed from the tracker.
func (s *Store) pass(w *frameWriter, t *tracker, kind byte) (taken []id) {
	for range rounds {
		keys := s.marks.take(t, few)
		if keys == nil {
			break
		}
		taken = append(taken, keys...)
		s.inParts(w, keys)
	}
	last, records := s.lastSlice(t)
	if len(records) > 0 || w.size > 0 || kind == frameEnd {
		w.frame(kind, w.records(records))
	}
	return append(taken, last...)
}

// inParts writes keys in parts, each copied in about a slice's time.
func (s *Store) inParts(w *frameWriter, keys []id) {
	room := make([]record, 0, min(len(keys), 512)) // too large to allocate under the lock
	for len(keys) > 0 && w.err == nil {
		list := s.oneSlice(room, keys)
		keys = keys[len(list):]
		if rest := w.records(list); len(rest) > 0 {
			w.frame(framePart, rest)
		}
		if len(keys) > 0 {
			time.Sleep(slice) // a mutex prefers waiters only after 1 ms
		}
	}
}

// oneSlice copies the first of the keys, at least one and as many as there is room for.
func (s *Store) oneSlice(list []record, keys []id) []record {
	s.m.Lock()
	defer s.m.Unlock()
	now, elements := time.Now(), 0
	all := databases(s.m)
	for _, k := range keys[:min(len(keys), cap(list))] {
		r := copyKey(all, k, now)
		list = append(list, r)
		if elements += r.size; elements >= 64 {
			if elements = 0; time.Since(now) > slice {
				break
			}
		}
	}
	s.held(now)
	return list
}

// lastSlice copies all keys that are still tracked, and those of running commands, under one hold
// of the lock.
func (s *Store) lastSlice(t *tracker) (keys []id, list []record) {
	s.m.Lock()
	defer s.m.Unlock()
	now := time.Now()
	defer func() { s.held(now) }()
	all := databases(s.m)
	keys = s.marks.take(t, 0)
	running, waited := s.marks.running()
	for _, k := range append(keys, running...) {
		list = append(list, copyKey(all, k, now))
	}
	waits := make(map[id]state, len(waited))
	for _, k := range waited { // a waiting command has not changed its keys
		waits[k] = stateOf(all, k)
		if was, known := s.waits[k]; !known || was != waits[k] {
			list = append(list, copyKey(all, k, now))
		}
	}
	s.waits = waits
	return keys, list
}

// state differs after any change that a waiting command can make to a key.
type state struct {
	kind    string
	version uint
	size    int
	last    string
	pending int
}

func stateOf(all map[int]*database, k id) (s state) {
	d := all[k.db]
	if d == nil {
		return s
	}
	s.kind, s.version = d.keys[k.key], d.keyVersion[k.key]
	switch s.kind {
	case "list":
		s.size = len(d.listKeys[k.key])
	case "zset":
		s.size = len(d.sortedsetKeys[k.key])
	case "stream":
		x := d.streamKeys[k.key]
		s.size, s.last = len(x.entries), x.lastAllocatedID
		for name, g := range x.groups {
			s.pending += len(g.pending) + len(g.consumers) + hash(name+" "+g.lastID)
		}
	}
	return s
}

// allKeys lists all keys. It releases the lock between two steps of its loop over a Go map, which
// may change: keys that are written meanwhile are tracked.
func (s *Store) allKeys() []id {
	s.m.Lock()
	count := 0
	for _, d := range databases(s.m) {
		count += len(d.keys)
	}
	s.m.Unlock()
	list := make([]id, 0, count+count/8+16)
	s.m.Lock()
	now := time.Now()
	for n, d := range databases(s.m) {
		for k := range d.keys {
			if list = append(list, id{n, k}); len(list)%256 == 0 {
				now = s.breathe(now)
			}
		}
	}
	s.held(now)
	s.m.Unlock()
	return list
}

// breathe releases the lock for a moment if it was held for a slice, and returns when it was
// acquired.
func (s *Store) breathe(since time.Time) time.Time {
	if time.Since(since) < slice {
		return since
	}
	s.held(since)
	s.m.Unlock()
	time.Sleep(slice)
	s.m.Lock()
	return time.Now()
}

func (s *Store) held(since time.Time) {
	d := int64(time.Since(since))
	for was := s.longest.Load(); d > was && !s.longest.CompareAndSwap(was, d); was = s.longest.Load() {
	}
}
