package boot

import (
	"context"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
	"wsframe/library/cache"
)

// The bounds of connections to Redis. Each of the four shards of the bus waits in one and writes by
// another; the rest is for histories.
const (
	clusterConnections = 16
	busConnections     = 32
)

// stores are a worker's clients of the store.
type stores struct {
	own     framework.Stores
	clients []redis.UniversalClient
}

// openStores opens the application's client, and those of the framework.
func openStores(ctx context.Context, o cache.Options) (redis.UniversalClient, *stores, error) {
	s := &stores{}
	for _, connections := range []int{0, clusterConnections, busConnections} {
		o.Connections = connections
		c, err := cache.Open(ctx, o)
		if err != nil {
			s.close()
			return nil, nil, err
		}
		s.clients = append(s.clients, c)
	}
	s.own = framework.Stores{Cluster: s.clients[1], Bus: s.clients[2]}
	return s.clients[0], s, nil
}

func (s *stores) close() {
	for _, c := range s.clients {
		_ = c.Close() // the process ends anyway
	}
}
