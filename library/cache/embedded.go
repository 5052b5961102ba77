package cache

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// Embedded is a Redis server inside this process, on a loopback port of its own with a random password.
//
// Its engine is miniredis: pure Go, maintained, with all commands, streams and Lua that we use (the suite in
// contract_test.go runs against it and a real Redis). What it lacks: everything is in memory, behind one lock, without a
// bound, and lost when the process ends; SCARD, SSCAN and SMEMBERS sort the whole set; keys may expire some 50 ms early, since
// its time moves in ticks. Right to start with and for one small server, no replacement for Redis.
type Embedded struct {
	m        *miniredis.Miniredis
	password string

	expiring sync.Once
	begin    chan time.Time // when the first key with a time to live was set
	end      chan struct{}
	ticking  sync.WaitGroup
}

// StartEmbedded starts one.
func StartEmbedded() (*Embedded, error) {
	e := &Embedded{m: miniredis.NewMiniRedis(), password: rand.Text(), begin: make(chan time.Time, 1), end: make(chan struct{})}
	e.m.RequireAuth(e.password)
	if err := e.m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded store: %w", err)
	}
	e.m.Server().SetPreHook(e.watch)
	e.ticking.Go(e.tick)
	return e, nil
}

// Addr is where it listens, host:port.
func (e *Embedded) Addr() string { return e.m.Addr() }

// Password is what clients must show; local users of the machine cannot guess it.
func (e *Embedded) Password() string { return e.password }

// Close ends it and forgets everything. It may be called once.
func (e *Embedded) Close() {
	close(e.end)
	e.ticking.Wait()
	e.m.Close()
}

// watch sees every command before it runs, those of scripts too.
func (e *Embedded) watch(_ *server.Peer, cmd string, args ...string) bool {
	if expires(cmd, args) {
		e.expiring.Do(func() { e.begin <- time.Now() })
	}
	return false // go on
}

// expires tells whether a command gives something a time to live.
func expires(cmd string, args []string) bool {
	switch {
	case cmd == "SET":
		for _, a := range args[min(2, len(args)):] {
			switch strings.ToUpper(a) {
			case "EX", "PX", "EXAT", "PXAT":
				return true
			}
		}
		return false
	case cmd == "RESTORE":
		return true
	}
	return strings.Contains(cmd, "EXPIRE") || strings.HasSuffix(cmd, "SETEX") || strings.HasSuffix(cmd, "GETEX")
}

// A tick costs time in proportion to the number of all keys. So ticks are that far apart that they take 2% of it.
const (
	minTick = 50 * time.Millisecond
	share   = 50
)

// tick lets keys expire. miniredis can do that by itself (ClockTTL), but then sorts all keys at every command: 3.4 ms
// each with 20,000 keys. Nothing is done before the first key that expires.
func (e *Embedded) tick() {
	var last time.Time
	select {
	case last = <-e.begin:
	case <-e.end:
		return
	}
	timer := time.NewTimer(minTick)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-e.end:
			return
		}
		now := time.Now()
		e.m.FastForward(now.Sub(last))
		last = now
		timer.Reset(max(minTick, share*time.Since(now)))
	}
}
