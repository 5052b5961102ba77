package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// noEviction is the policy of Redis under which keys stay until they expire or are deleted.
const noEviction = "noeviction"

// Eviction returns the policy by which a Redis without memory evicts keys; "" = noeviction.
//
// Evicted leases, claims and offsets do harm: a living node would count as dead. Each server of a
// Redis Cluster is asked. An error means that a server does not tell, for example to a user whose
// ACL lacks INFO and CONFIG.
func Eviction(ctx context.Context, c redis.UniversalClient) (policy string, err error) {
	cluster, ok := c.(*redis.ClusterClient)
	if !ok {
		return evictionOf(ctx, c)
	}
	var mu sync.Mutex
	// Replicas count too, since one may become a master.
	err = cluster.ForEachShard(ctx, func(ctx context.Context, one *redis.Client) error {
		p, err := evictionOf(ctx, one)
		mu.Lock()
		defer mu.Unlock()
		if p != "" {
			policy = p
		}
		return err
	})
	if policy != "" {
		return policy, nil // one is enough to know
	}
	return "", err
}

func evictionOf(ctx context.Context, c redis.Cmdable) (string, error) {
	policy := ""
	info, err := c.Info(ctx, "memory").Result()
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok {
			policy = value
		}
	}
	if policy == "" {
		said, e := c.ConfigGet(ctx, "maxmemory-policy").Result()
		policy, err = said["maxmemory-policy"], errors.Join(err, e)
	}
	switch policy {
	case "":
		if err == nil {
			err = errors.New("the server does not tell")
		}
		return "", fmt.Errorf("ask for maxmemory-policy: %w", err)
	case noEviction:
		return "", nil
	}
	return policy, nil
}
