//go:build e2e && unix

package cache

import (
	"strings"
	"testing"

	"wsframe/internal/testserver"
)

func TestEviction(t *testing.T) {
	r := testserver.StartRedis(t)
	ctx := t.Context()
	c, err := Open(ctx, Options{Addrs: []string{r.Addr}, Password: r.Password})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check := func(what, want string) {
		t.Helper()
		if got, err := Eviction(ctx, c); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", what, got, err, want)
		}
	}
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		is(t, c.ConfigSet(ctx, "maxmemory-policy", policy), "OK")
		check(policy, policy)
	}
	is(t, c.Do(ctx, "ACL", "SETUSER", "default", "-info"), "OK")
	check("by CONFIG alone", "volatile-ttl")
	is(t, c.ConfigSet(ctx, "maxmemory-policy", "noeviction"), "OK")
	check("by CONFIG alone", "")
	is(t, c.Do(ctx, "ACL", "SETUSER", "default", "+info", "-config"), "OK")
	check("by INFO alone", "")
	is(t, c.Do(ctx, "ACL", "SETUSER", "default", "-info"), "OK")
	if got, err := Eviction(ctx, c); err == nil || !strings.Contains(err.Error(), "NOPERM") || got != "" {
		t.Errorf("neither: %q %v", got, err)
	}
}

// One server of a Redis Cluster that evicts is enough.
func TestEvictionCluster(t *testing.T) {
	r := testserver.StartRedisCluster(t)
	c, err := Open(t.Context(), Options{Addrs: r.Addrs(), Password: r.Password})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := Eviction(t.Context(), c); err != nil || got != "" {
		t.Errorf("none: %q %v", got, err)
	}
	addrs := r.Addrs()
	one, err := Open(t.Context(), Options{Addrs: addrs[len(addrs)-1:], Password: r.Password})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	is(t, one.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru"), "OK")
	if got, err := Eviction(t.Context(), c); err != nil || got != "allkeys-lru" {
		t.Errorf("one: %q %v", got, err)
	}
}
