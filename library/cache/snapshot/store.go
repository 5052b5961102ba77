// Package snapshot saves the data of a miniredis in one file while it serves.
//
//	m := miniredis.NewMiniRedis() // started
//	store, err := snapshot.Open(m, snapshot.Config{Path: "runtime/store/store"})
//	go store.Run(ctx)   // saves each second, lets keys expire
//	…
//	err = store.Close() // saves all data
//
// The file is a base with every key, followed by changes: each save appends the current values of
// the keys that were written since the last one. One algorithm writes both:
//
//	keys that were written ──► copied in slices of 1 ms under the lock, encoded outside of it
//	      ▲                              │
//	      └── written meanwhile ◄────────┘ again, until few are left
//	few keys ──► copied in one go: this slice closes the save
//
// So a save is the state of one moment, and contains all writes of a script or a transaction or
// none. When the file has grown to three times its base, a new file is written while saves still go
// to the old one, and then renamed.
//
// A Store is safe for concurrent use.
package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// Config of a Store. Zero means the default.
type Config struct {
	Path  string        // of the file; "" = no file
	Every time.Duration // time between two saves; 1 s
	// Failed is called with the error of a failed save, and with nil at the next success. It must
	// not block.
	Failed func(error)

	create func(path string) (file, error) // of tests
}

// Store saves one server's data.
type Store struct {
	m      *miniredis.Miniredis
	server *server.Server
	create func(path string) (file, error)
	path   string
	every  time.Duration
	failed func(error)
	inner  *server.Peer // runs commands under the server's lock
	marks  *marks

	saving  sync.Mutex // held while the file is written; taken before the server's lock
	file    file       // nil = its end is unknown: a new file must be written
	written *tracker   // keys that the file does not have yet
	base    int64      // bytes
	size    int64
	waits   map[id]state // at the last save, of keys for which a command waits

	waveMu sync.Mutex
	next   *wave

	longest atomic.Int64 // longest hold of the lock, in ns
}

// Found describes the file that Open has read.
type Found struct {
	Clean  bool   // the last server stopped in order, or there was none
	Keys   int    // number of keys
	Cut    int    // bytes of an incomplete save at the end
	Damage error  // why a part of the file could not be read; nil = none
	Aside  string // new name of a damaged file
}

// Open loads the file into a started server without keys, and tracks its writes from then on.
// Without a Close, the next Open does not report the file as clean. A damaged file is renamed, and
// its intact part is used.
func Open(m *miniredis.Miniredis, c Config) (*Store, Found, error) {
	s := &Store{
		m: m, server: m.Server(), path: c.Path, every: c.Every, failed: c.Failed, create: c.create,
		marks: newMarks(), inner: server.NewPeer(bufio.NewWriter(io.Discard)),
	}
	if s.every == 0 {
		s.every = time.Second
	}
	if s.failed == nil {
		s.failed = func(error) {}
	}
	if s.create == nil {
		s.create = createFile
	}
	s.server.Dispatch(s.inner, []string{"PING"}) // creates miniredis' state of the connection
	if err := checkLayout(s.inner); err != nil {
		return nil, Found{}, err
	}
	connectionOf(s.inner).nested = true
	if err := s.server.Register("WAITAOF", s.waitAOF, server.ReadOnlyOption()); err != nil {
		return nil, Found{}, fmt.Errorf("make the command that waits for the disk: %w", err)
	}
	found := Found{Clean: true}
	if s.path != "" {
		var err error
		if found, err = s.load(); err != nil {
			return nil, found, err
		}
		s.written = s.marks.track()
	}
	s.server.SetPreHook(s.hook)
	if s.path != "" {
		if err := s.rewrite(frameCommit); err != nil {
			return nil, found, err
		}
	}
	return s, found, nil
}

func (s *Store) load() (Found, error) {
	c := readFile(s.path)
	f := Found{Clean: c.clean, Cut: c.cut, Damage: c.damage}
	now := time.Now()
	for _, body := range c.records {
		r, err := parseRecord(body)
		if err == nil {
			err = s.restore(r, now)
		}
		if err != nil {
			f.Damage, f.Clean = errors.Join(f.Damage, err), false
			continue
		}
		f.Keys++
	}
	if f.Damage == nil {
		return f, nil
	}
	aside, err := setAside(s.path, now)
	if err != nil {
		return f, fmt.Errorf("%w; nor can it be set aside: %w", f.Damage, err)
	}
	f.Aside = aside
	return f, nil
}

// setAside renames a file to an unused name.
func setAside(path string, now time.Time) (string, error) {
	stamp := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		aside := stamp
		if n > 1 {
			aside += fmt.Sprint("-", n)
		}
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		return aside, errors.Join(os.Rename(path, aside), syncDir(filepath.Dir(path)))
	}
}

// Run saves the data and lets keys expire until ctx ends.
func (s *Store) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { s.expire(ctx) })
	if s.path != "" {
		work.Go(func() { s.keep(ctx) })
	}
	work.Wait()
}

// maxPause is the longest time between two attempts to write a whole file.
const maxPause = 10 * time.Second

func (s *Store) keep(ctx context.Context) {
	for pause, failing := s.every, false; ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		whole, err := s.keepOnce()
		if err != nil && whole {
			pause = min(2*pause, max(maxPause, s.every)) // a whole file takes long
		} else {
			pause = s.every
		}
		if err != nil || failing {
			s.failed(err)
		}
		failing = err != nil
	}
}

// keepOnce saves, and writes a new file when that is due.
func (s *Store) keepOnce() (whole bool, err error) {
	if !s.due() {
		if err := s.Save(); err != nil || !s.due() {
			return false, err
		}
	}
	return true, s.rewrite(frameCommit)
}

// due reports whether a new file must be written.
func (s *Store) due() bool {
	s.saving.Lock()
	defer s.saving.Unlock()
	return s.file == nil || s.size > growth*max(s.base, minBase)
}

// Close saves all data, and marks the file as clean. Run must have ended, and no command may run.
func (s *Store) Close() error {
	if s.path == "" {
		return nil
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	var err error
	if s.file != nil {
		err = s.append(frameEnd)
	}
	if s.file == nil || err != nil {
		s.saving.Unlock()
		err = s.rewrite(frameEnd)
		s.saving.Lock()
	}
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
		s.file = nil
	}
	return err
}

// Longest returns the longest time for which a save or an expiry has held the server's lock.
func (s *Store) Longest() time.Duration { return time.Duration(s.longest.Load()) }
