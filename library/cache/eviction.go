package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// noEviction is the one policy of Redis under which what is written stays until it expires or is deleted.
const noEviction = "noeviction"

// Eviction tells by which policy Redis evicts keys when its memory is full, "" when by none. Leases, claims and offsets must not be evicted: with any
// other policy than noeviction a living node is taken for dead. Each server of a Redis Cluster is asked. An error means that one does not tell, as with
// an ACL without INFO and CONFIG.
func Eviction(ctx context.Context, c redis.UniversalClient) (policy string, err error) {
	cluster, ok := c.(*redis.ClusterClient)
	if !ok {
		return evictionOf(ctx, c)
	}
	var mu sync.Mutex
	err = cluster.ForEachShard(ctx, func(ctx context.Context, one *redis.Client) error { // replicas too: one may become a master
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
