//go:build e2e && unix

package cluster

import (
	"testing"
	"time"

	"wsframe/internal/testserver"
)

const pollEvery = 5 * time.Millisecond

// bubble runs a test beside a real Redis, by the machine's clock.
func bubble(t *testing.T, f func(t *testing.T)) { f(t) }

func newStore(t testing.TB) *store {
	r := testserver.StartRedis(t, "--appendfsync", "no") // what it has answered is written; a kill needs no disk
	return &store{addr: r.Addr, password: r.Password, stop: r.Kill, restart: r.Restart}
}
