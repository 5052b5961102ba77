//go:build e2e && unix

package cluster

import (
	"testing"

	"wsframe/internal/testserver"
)

func newStore(t testing.TB) *store {
	r := testserver.StartRedis(t, "--appendfsync", "always")
	return &store{addr: r.Addr, password: r.Password, stop: r.Kill, restart: r.Restart}
}
