//go:build !e2e

package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"wsframe/internal/testserver"
)

const pollEvery = 100 * time.Millisecond // of the test's own clock: each look costs the same real time

// bubble runs a test with a fake clock, so that it does not depend on the machine's speed.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// newStore starts the store of a test: in memory, or a real Redis with the tag e2e.
func newStore(t testing.TB) *store {
	p := testserver.StartPiped(t)
	return &store{addr: p.Addr, dial: p.Dial, stop: p.Stop, restart: p.Restart}
}
