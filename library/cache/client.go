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
	Timeout        time.Duration // of dialing, reading and writing, 500 ms; calls have their contexts besides
	Log            *zap.Logger
}

// Open makes a client and asks the server for a sign of life until ctx ends; a Redis that is still reading its data is
// waited for.
func Open(ctx context.Context, o Options) (redis.UniversalClient, error) {
	if o.Timeout == 0 {
		o.Timeout = 500 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	redis.SetLogger(logger{o.Log}) // of all clients; by itself it writes to stderr
	opts := &redis.UniversalOptions{
		Addrs: o.Addrs, Username: o.Username, Password: o.Password, DB: o.DB, MasterName: o.SentinelMaster,
		SentinelUsername: o.Username, SentinelPassword: o.Password,
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
		MaxRetries:            -1, // who calls decides what is repeated
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled, // a hosted service's feature, answered with errors by others
		},
	}
	c, err := dial(ctx, opts)
	if err != nil && o.SentinelMaster != "" && o.Password != "" { // sentinels often have no password, and refuse one then
		opts.SentinelUsername, opts.SentinelPassword = "", ""
		if open, e := dial(ctx, opts); e == nil {
			c, err = open, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("redis at %s cannot be reached: %w", strings.Join(o.Addrs, ","), err)
	}
	return c, nil
}

func dial(ctx context.Context, o *redis.UniversalOptions) (redis.UniversalClient, error) {
	c := redis.NewUniversalClient(o)
	for {
		err := c.Ping(ctx).Err()
		if err == nil {
			return c, nil
		}
		if redis.HasErrorPrefix(err, "LOADING") {
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
			}
		}
		_ = c.Close()
		return nil, err
	}
}

// logger takes go-redis's own lines, which are about reconnecting: not every one is news.
type logger struct{ *zap.Logger }

func (l logger) Printf(_ context.Context, format string, v ...any) {
	l.Debug("redis client", zap.String("says", fmt.Sprintf(format, v...)))
}
