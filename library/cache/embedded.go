package cache

import (
	"crypto/rand"
	"fmt"

	"github.com/alicebob/miniredis/v2"
)

// Embedded is a Redis server inside this process, on a loopback port of its own with a random password.
//
// Its engine is miniredis: pure Go, maintained, with all commands, streams and Lua that we use (embedded_test.go holds the
// same suite against it and a real Redis). It keeps everything in memory, in one lock, and loses it when the
// process ends: right to start with and for one small server, no replacement for Redis.
type Embedded struct {
	m        *miniredis.Miniredis
	password string
}

// StartEmbedded starts one.
func StartEmbedded() (*Embedded, error) {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true) // keys expire by the clock; without it only when told to
	password := rand.Text()
	m.RequireAuth(password)
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded store: %w", err)
	}
	return &Embedded{m, password}, nil
}

// Addr is where it listens, host:port.
func (e *Embedded) Addr() string { return e.m.Addr() }

// Password is what clients must show; local users of the machine cannot guess it.
func (e *Embedded) Password() string { return e.password }

// Close ends it and forgets everything.
func (e *Embedded) Close() { e.m.Close() }
