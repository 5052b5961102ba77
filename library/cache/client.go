package cache

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
)

// Options of Open.
type Options struct {
	Addrs          []string // one server, several of a Redis Cluster, or sentinels with SentinelMaster
	Username       string
	Password       string
	DB             int
	SentinelMaster string
	Timeout        time.Duration // of dialing, reading and writing; calls have their contexts besides
	Log            *zap.Logger
}

// Open makes a client and asks the server for a sign of life until ctx ends.
func Open(ctx context.Context, o Options) (redis.UniversalClient, error) {
	if o.Log != nil {
		redis.SetLogger(logger{o.Log})
	}
	c := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: o.Addrs, Username: o.Username, Password: o.Password, DB: o.DB, MasterName: o.SentinelMaster,
		SentinelUsername: o.Username, SentinelPassword: o.Password,
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		ContextTimeoutEnabled: true,
		MaxRetries:            -1, // who calls decides what is repeated
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled, // a hosted service's feature, answered with errors by others
		},
	})
	if err := c.Ping(ctx).Err(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("redis at %s cannot be reached: %w", strings.Join(o.Addrs, ","), err)
	}
	return c, nil
}

// logger takes go-redis's own lines, which are about reconnecting: not every one is news.
type logger struct{ *zap.Logger }

func (l logger) Printf(_ context.Context, format string, v ...any) {
	l.Debug("redis client", zap.String("says", fmt.Sprintf(format, v...)))
}
