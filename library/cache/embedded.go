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

// Embedded is a Redis server inside this process, on a loopback port with a random password.
//
// Its engine is miniredis, which is pure Go and has all commands, streams and Lua that the
// framework uses (contract_test.go runs against it and a real Redis). Its limits: all data is in
// memory, behind one lock; SCARD, SSCAN and SMEMBERS sort the whole set; keys may expire some 50 ms
// early. It suits development and one small server.
//
// With a directory, package snapshot saves its data in a file there.
type Embedded struct {
	m        *miniredis.Miniredis
	password string
	store    *snapshot.Store
	found    snapshot.Found
	note     string
	log      *zap.Logger

	cancel context.CancelFunc
	work   sync.WaitGroup

	complained time.Time // when a failed save was last logged; the saving goroutine's
}

// EmbeddedConfig of an Embedded. Zero means the default.
type EmbeddedConfig struct {
	Dir  string        // directory of its file, made with mode 0700; "" = Close loses all data
	Save time.Duration // time between saves, which a crash may lose; 0 = 1 s
	// Loaded is called before the store serves. Without clean the last server did not stop in
	// order, and its last writes may be missing. An error ends the start.
	Loaded func(ctx context.Context, client redis.UniversalClient, clean bool) error
	Log    *zap.Logger // logs failed saves; nil = none
}

// StartEmbedded starts an Embedded without a directory.
func StartEmbedded() (*Embedded, error) { return OpenEmbedded(context.Background(), EmbeddedConfig{}) }

// OpenEmbedded starts an Embedded with the data of its directory. The caller must hold a lock,
// since only one server may use a directory.
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

// Addr returns its address, host:port.
func (e *Embedded) Addr() string { return e.m.Addr() }

// Password returns the password that clients need. It keeps other users of the machine out.
func (e *Embedded) Password() string { return e.password }

// Note returns a line for people about damage that the start has found; "" = none.
func (e *Embedded) Note() string { return e.note }

// Close ends the server. With a directory it first saves all data. It must be called only once.
func (e *Embedded) Close() {
	e.cancel()
	e.work.Wait()
	e.m.Close()
	if err := e.store.Close(); err != nil {
		e.log.Error("the store could not be saved at the stop: what was written since the last save is lost", zap.Error(err))
	}
}

// complainEvery is the time between two log lines about failing saves.
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

// Sync waits until everything that this client has written is on the disk of an Embedded. It comes
// before actions that a crash must not repeat. It takes some milliseconds, and concurrent callers
// share one save.
func Sync(ctx context.Context, client redis.UniversalClient) error {
	if err := client.Do(ctx, "WAITAOF", 1, 0, 0).Err(); err != nil {
		return fmt.Errorf("wait for the store to be on the disk: %w", err)
	}
	return nil
}
