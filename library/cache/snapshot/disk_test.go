package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// disk is one that fails or stands still on demand.
type disk struct {
	full, unsynced atomic.Bool
	room           atomic.Int64 // bytes, while full
	stuck          sync.Mutex   // held = a sync waits
}

func (d *disk) create(path string) (file, error) {
	f, err := os.Create(path)
	return &diskFile{f, d}, err
}

type diskFile struct {
	*os.File
	d *disk
}

func (f *diskFile) Write(b []byte) (int, error) {
	if !f.d.full.Load() {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:min(int64(len(b)), f.d.room.Load())])
	f.d.room.Add(-int64(n))
	return n, errors.Join(err, syscall.ENOSPC)
}

func (f *diskFile) Sync() error {
	f.d.stuck.Lock()
	defer f.d.stuck.Unlock()
	if f.d.unsynced.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

// A disk that is full fails a save at any byte of it. The next one has everything.
func TestDiskFull(t *testing.T) {
	var d disk
	s := open(t, Config{Path: newPath(t), create: d.create})
	for room := range int64(60) {
		s.MSet(ctx, "a", room, "b", room)
		d.room.Store(room)
		d.full.Store(true)
		if err := s.store.Save(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := s.store.rewrite(frameCommit); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := s.store.Barrier(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		d.full.Store(false)
		s.save(t)
		compare(t, s.picture(t), s.kill(t).picture(t))
	}
}

// After a sync that failed nobody knows what the disk has: the file is written anew.
func TestSyncFails(t *testing.T) {
	var d disk
	var told atomic.Int64
	s := open(t, Config{Path: newPath(t), create: d.create, Every: time.Millisecond, Failed: func(err error) {
		if err == nil {
			told.Add(1000)
		} else {
			told.Add(1)
		}
	}})
	d.unsynced.Store(true)
	s.Set(ctx, "a", "1", 0)
	if err := s.store.Save(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := s.store.Barrier(); !errors.Is(err, errNoFile) {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); s.store.Run(run) }()
	eventually(t, "nobody is told", func() bool { return told.Load() > 0 })
	d.unsynced.Store(false)
	eventually(t, "it is not saved again", func() bool { return s.store.Barrier() == nil })
	stop()
	<-ended
	if s.kill(t).Get(ctx, "a").Val() != "1" {
		t.Error("what was written meanwhile is missing")
	}
}

// While the disk stands still everything is served; only who asked for the disk waits.
func TestSlowDisk(t *testing.T) {
	var d disk
	s := open(t, Config{Path: newPath(t), create: d.create})
	d.stuck.Lock()
	waits := make(chan error, 3)
	s.Set(ctx, "first", 1, 0)
	go func() { waits <- s.store.Save() }()
	go func() { waits <- s.store.rewrite(frameCommit) }()
	go func() { waits <- s.Do(ctx, "WAITAOF", 1, 0, 0).Err() }()
	for i := range 1000 {
		if err := s.Set(ctx, fmt.Sprint("k", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s.store.tick(time.Second)
	d.stuck.Unlock()
	for range 3 {
		if err := <-waits; err != nil {
			t.Error(err)
		}
	}
	s.save(t)
	compare(t, s.picture(t), s.kill(t).picture(t))
}

// Barriers that are asked for at once share saves.
func TestBarriersShare(t *testing.T) {
	var d disk
	s := open(t, Config{Path: newPath(t), create: d.create})
	d.stuck.Lock()
	var all sync.WaitGroup
	clients := make([]*redis.Client, 16)
	for i := range clients {
		clients[i] = redis.NewClient(&redis.Options{Addr: s.m.Addr(), Protocol: 2, Password: "secret", ReadTimeout: time.Minute})
		defer clients[i].Close()
		all.Go(func() {
			clients[i].Set(ctx, fmt.Sprint("k", i), i, 0)
			if err := clients[i].Do(ctx, "WAITAOF", 1, 0, 0).Err(); err != nil {
				t.Error(err)
			}
		})
	}
	d.stuck.Unlock()
	all.Wait()
	compare(t, s.picture(t), s.kill(t).picture(t))
}
