//go:build !e2e

package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"wsframe/internal/testserver"
)

const pollEvery = 100 * time.Millisecond // of the test's own clock: each look costs the same real time

// bubble runs a test by a clock of its own, so that it depends on no machine's speed.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// newStore starts the store of a test: one in memory, or with the tag e2e a real Redis.
func newStore(t testing.TB) *store {
	p := testserver.StartPiped(t)
	return &store{addr: p.Addr, dial: p.Dial, stop: p.Stop, restart: p.Restart}
}
