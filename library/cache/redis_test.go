//go:build e2e && unix

package cache

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"wsframe/internal/testserver"
)

func TestRedis(t *testing.T) {
	s := testserver.StartRedis(t)
	runContract(t, Options{Addrs: []string{s.Addr}, Password: s.Password})
}

// The sentinel has no password, the Redis behind it has one.
func TestSentinel(t *testing.T) {
	r := testserver.StartRedis(t)
	s := testserver.StartSentinel(t, r)
	c, err := Open(t.Context(), Options{Addrs: []string{s.Addr}, SentinelMaster: testserver.SentinelMaster, Password: r.Password})
	if err != nil {
		t.Fatal(err)
	}
	is(t, c.Set(t.Context(), "k", "v", 0), "OK")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A cluster of one node: several addresses make a cluster client.
func TestCluster(t *testing.T) {
	r := testserver.StartRedis(t, "--cluster-enabled", "yes")
	ctx := t.Context()
	one, err := Open(ctx, Options{Addrs: []string{r.Addr}, Password: r.Password})
	if err != nil {
		t.Fatal(err)
	}
	is(t, one.(*redis.Client).ClusterAddSlotsRange(ctx, 0, 16383), "OK")
	eventually(t, "the cluster is ready", func() bool { return one.Set(ctx, "k", "v", 0).Err() == nil })
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	c, err := Open(ctx, Options{Addrs: []string{r.Addr, r.Addr}, Password: r.Password})
	if err != nil {
		t.Fatal(err)
	}
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range []string{"a", "b", "c"} {
			p.SAdd(ctx, k, 1)
		}
		return nil
	})
	if err != nil || len(cmds) != 3 {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
