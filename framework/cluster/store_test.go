//go:build !e2e

package cluster

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// newStore starts the store of a test: miniredis, or with the tag e2e a real Redis.
func newStore(t testing.TB) *store {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &store{addr: m.Addr(), stop: m.Close, restart: func() {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}}
}
