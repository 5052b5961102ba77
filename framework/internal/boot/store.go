package boot

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/process"
	"wsframe/library/cache"
	"wsframe/library/config"
)

// redisOptions returns how the store is reached: the master's embedded one if there is one, else
// the configured one.
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

// storeNotes returns notes on the settings of a Redis that is not embedded.
func storeNotes(ctx context.Context, cfg *config.Config, embedded process.Store, client redis.UniversalClient) ([]string, error) {
	if embedded.Addr != "" {
		return nil, nil
	}
	policy, err := cache.Eviction(ctx, client)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("whether Redis evicts keys cannot be told (%.200q): its maxmemory-policy must be noeviction", OneLine(err))}, nil
	case policy == "":
		return nil, nil
	}
	evicts := fmt.Sprintf("Redis evicts keys when its memory is full (maxmemory-policy %s): living nodes may be taken for dead, and connections and histories be lost; set maxmemory-policy noeviction", policy)
	if cfg.Cache.Master.Strict {
		return nil, errors.New(evicts + ", or cache.master.strict to false")
	}
	return []string{evicts}, nil
}

// StoreOpener returns the function that opens the embedded store in the master, or nil where it is
// not configured.
func StoreOpener(cfg *config.Config, l *zap.Logger) func(context.Context) (process.Store, error) {
	m := &cfg.Cache.Master
	if m.Driver != "embedded" {
		return nil
	}
	return func(ctx context.Context) (process.Store, error) {
		e, err := cache.OpenEmbedded(ctx, cache.EmbeddedConfig{
			Dir: filepath.Join(cfg.App.Runtime.Dir, "store"), Save: m.Save, Log: l,
			Loaded: func(ctx context.Context, client redis.UniversalClient, clean bool) error {
				return prepareStore(ctx, client, cfg, clean)
			},
		})
		if err != nil {
			return process.Store{}, err
		}
		s := process.Store{Addr: e.Addr(), Password: e.Password(), Close: e.Close}
		if note := e.Note(); note != "" {
			s.Notes = []string{note}
		}
		return s, nil
	}
}

// prepareStore resets what earlier processes have left in the embedded store, before it is used.
func prepareStore(ctx context.Context, client redis.UniversalClient, cfg *config.Config, clean bool) error {
	prefix := cfg.Cache.Master.Prefix
	if !clean {
		if err := bus.NewEpochs(ctx, client, prefix); err != nil {
			return err
		}
	}
	if err := client.Del(ctx, prefix+pushPrefix+"ONLINE").Err(); err != nil {
		return fmt.Errorf("forget who was online: %w", err)
	}
	return cluster.TakeOver(ctx, client, prefix, nodeID(cfg))
}
