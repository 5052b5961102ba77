package console

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/process"
	"wsframe/library/cache"
	"wsframe/library/config"
)

// redisOptions are how the store is reached: the master's embedded one where it has one, else the configuration's.
func redisOptions(cfg *config.Config, embedded process.Store, log *zap.Logger) (cache.Options, error) {
	m := &cfg.Cache.Master
	if embedded.Addr != "" {
		return cache.Options{Addrs: []string{embedded.Addr}, Password: embedded.Password, Timeout: m.Timeout, Log: log}, nil
	}
	tls, err := cfg.Cache.TLSConfig()
	return cache.Options{
		Addrs: m.Addrs, Username: m.Username, Password: m.Password, DB: m.DB, SentinelMaster: m.SentinelMaster, TLS: tls, Timeout: m.Timeout, Log: log,
	}, err
}

// storeNotes says what is wrong with a Redis of one's own.
func storeNotes(ctx context.Context, cfg *config.Config, embedded process.Store, client redis.UniversalClient) ([]string, error) {
	if embedded.Addr != "" {
		return nil, nil
	}
	policy, err := cache.Eviction(ctx, client)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("whether Redis evicts keys cannot be told (%.200q): its maxmemory-policy must be noeviction", oneLine(err))}, nil
	case policy == "":
		return nil, nil
	}
	evicts := fmt.Sprintf("Redis evicts keys when its memory is full (maxmemory-policy %s): living nodes may be taken for dead, and connections and histories be lost; set maxmemory-policy noeviction", policy)
	if cfg.Cache.Master.Strict {
		return nil, errors.New(evicts + ", or cache.master.strict to false")
	}
	return []string{evicts}, nil
}
