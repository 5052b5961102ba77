//go:build e2e && unix

package cache

import (
	"testing"

	"wsframe/internal/testserver"
)

func TestRedis(t *testing.T) {
	s := testserver.StartRedis(t)
	runContract(t, Options{Addrs: []string{s.Addr}, Password: s.Password})
}
