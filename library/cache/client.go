package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
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
	TLS            *tls.Config   // nil = none; without ServerName the certificate must be for the host in Addrs
	Connections    int           // at most; 0 = 10 for each processor
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
	hidden := hider(o.Password)
	redis.SetLogger(logger{o.Log, hidden}) // of all clients; by itself it writes to stderr
	opts := &redis.UniversalOptions{
		Addrs: o.Addrs, Username: o.Username, Password: o.Password, DB: o.DB, MasterName: o.SentinelMaster,
		SentinelUsername: o.Username, SentinelPassword: o.Password, TLSConfig: o.TLS,
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		PoolSize:              o.Connections,
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
		return nil, hiding{fmt.Errorf("redis at %s cannot be reached: %w", strings.Join(o.Addrs, ","), explained(err, o.TLS != nil)), hidden}
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

// explained adds what may be meant where a server is spoken to in the wrong way. One without TLS answers its beginning with nothing, or with an error in plain text.
func explained(err error, byTLS bool) error {
	switch _, plain := errors.AsType[tls.RecordHeaderError](err); {
	case byTLS && (plain || os.IsTimeout(err)):
		return fmt.Errorf("%w (does this port speak TLS? cache.master.tls)", err)
	case !byTLS && errors.Is(err, io.EOF):
		return fmt.Errorf("%w (does this port want TLS? cache.master.tls)", err)
	}
	return err
}

// hider replaces a password wherever a server has repeated it: Redis does with a command that it does not know, as AUTH where that is renamed.
func hider(password string) *strings.Replacer {
	if password == "" {
		return strings.NewReplacer()
	}
	return strings.NewReplacer(password, "(hidden)")
}

// hiding is an error whose text holds no password.
type hiding struct {
	error
	hidden *strings.Replacer
}

func (e hiding) Error() string { return e.hidden.Replace(e.error.Error()) }
func (e hiding) Unwrap() error { return e.error }

// logger takes go-redis's own lines, which are about reconnecting: not every one is news.
type logger struct {
	*zap.Logger
	hidden *strings.Replacer
}

func (l logger) Printf(_ context.Context, format string, v ...any) {
	l.Debug("redis client", zap.String("says", l.hidden.Replace(fmt.Sprintf(format, v...))))
}
