package cache

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/library/cache/snapshot"
)

// Embedded is a Redis server inside this process, on a loopback port of its own with a random password.
//
// Its engine is miniredis: pure Go, maintained, with all commands, streams and Lua that we use (the suite in
// contract_test.go runs against it and a real Redis). What it lacks: everything is in memory, behind one lock, without a
// bound; SCARD, SSCAN and SMEMBERS sort the whole set; keys may expire some 50 ms early, since
// its time moves in ticks. Right to start with and for one small server, no replacement for Redis.
//
// With a directory it keeps itself in a file there: package snapshot says how.
type Embedded struct {
	m        *miniredis.Miniredis
	password string
	store    *snapshot.Store
	found    snapshot.Found
	note     string
	log      *zap.Logger

	cancel context.CancelFunc
	work   sync.WaitGroup

	complained time.Time // when a save that failed was logged; of the goroutine that saves
}

// EmbeddedConfig of an Embedded. Zero means the default.
type EmbeddedConfig struct {
	Dir  string        // where it keeps itself, made with mode 0700; "" = it forgets everything at its end
	Save time.Duration // how much a crash may lose; 1 s
	// Loaded is called before the store serves. clean = the last server stopped in order; else what was
	// written last may be missing. Its error ends the start.
	Loaded func(ctx context.Context, client redis.UniversalClient, clean bool) error
	Log    *zap.Logger // of saves that fail
}

// StartEmbedded starts one that forgets everything at its end.
func StartEmbedded() (*Embedded, error) { return OpenEmbedded(context.Background(), EmbeddedConfig{}) }

// OpenEmbedded starts one with what its directory holds. Only one server may use a directory at a time:
// the caller holds a lock for that.
func OpenEmbedded(ctx context.Context, c EmbeddedConfig) (*Embedded, error) {
	e := &Embedded{m: miniredis.NewMiniRedis(), password: rand.Text(), log: c.Log}
	if e.log == nil {
		e.log = zap.NewNop()
	}
	e.m.RequireAuth(e.password)
	if err := e.m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded store: %w", err)
	}
	if err := e.open(ctx, c); err != nil {
		e.m.Close()
		return nil, fmt.Errorf("open the embedded store: %w", err)
	}
	run, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.work.Go(func() { e.store.Run(run) })
	return e, nil
}

func (e *Embedded) open(ctx context.Context, c EmbeddedConfig) (err error) {
	s := snapshot.Config{Every: c.Save, Failed: e.failed}
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return err
		}
		s.Path = filepath.Join(c.Dir, "store")
	}
	if e.store, e.found, err = snapshot.Open(e.m, s); err != nil {
		return err
	}
	switch f := e.found; {
	case f.Aside != "" && f.Keys == 0:
		e.note = fmt.Sprintf("the store cannot be read (%v); it begins empty, and the file is kept as %s", f.Damage, f.Aside)
	case f.Aside != "":
		e.note = fmt.Sprintf("a part of the store cannot be read (%v); what was saved before it is used (%d keys), and the file is kept as %s", f.Damage, f.Keys, f.Aside)
	case !f.Clean:
		e.note = fmt.Sprintf("the server did not stop in order the last time: what it was told in its last %v may be missing, and rooms' histories go on under a new epoch", cmp.Or(c.Save, time.Second))
	}
	if c.Loaded == nil {
		return nil
	}
	client := redis.NewClient(&redis.Options{Addr: e.Addr(), Password: e.password, Protocol: 2, ReadTimeout: time.Minute})
	defer client.Close()
	return c.Loaded(ctx, client, e.found.Clean)
}

// Addr is where it listens, host:port.
func (e *Embedded) Addr() string { return e.m.Addr() }

// Password is what clients must show; local users of the machine cannot guess it.
func (e *Embedded) Password() string { return e.password }

// Note is one line about what was found at the start, for people; "" = all is well.
func (e *Embedded) Note() string { return e.note }

// Close ends it. With a directory everything that was written is on the disk then. It may be called once.
func (e *Embedded) Close() {
	e.cancel()
	e.work.Wait()
	e.m.Close()
	if err := e.store.Close(); err != nil {
		e.log.Error("the store could not be saved at the stop: what was written since the last save is lost", zap.Error(err))
	}
}

// complainEvery bounds how often saves that go on failing are logged.
const complainEvery = time.Minute

func (e *Embedded) failed(err error) {
	if err == nil {
		e.complained = time.Time{}
		e.log.Warn("the store is saved again")
		return
	}
	if time.Since(e.complained) < complainEvery {
		return
	}
	e.complained = time.Now()
	e.log.Error("the store cannot be saved: a crash now would lose what is written meanwhile", zap.Error(err))
}

// Sync returns when everything that was written by this client before is on the disk, so that what
// must never happen twice can be done after it. client is that of an Embedded; it takes some milliseconds,
// and many callers share one.
func Sync(ctx context.Context, client redis.UniversalClient) error {
	if err := client.Do(ctx, "WAITAOF", 1, 0, 0).Err(); err != nil {
		return fmt.Errorf("wait for the store to be on the disk: %w", err)
	}
	return nil
}
