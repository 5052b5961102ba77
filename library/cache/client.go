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
	// Addrs holds one server, several servers of a Redis Cluster, or sentinels with SentinelMaster.
	Addrs          []string
	Username       string
	Password       string
	DB             int
	SentinelMaster string
	TLS            *tls.Config   // nil = none; ServerName "" = the host in Addrs
	Connections    int           // largest number; 0 = 10 for each processor
	Timeout        time.Duration // of dialing, reading and writing; 0 = 500 ms
	Log            *zap.Logger
}

// Open makes a client whose server answers. While the server loads its data, Open waits until ctx
// ends. Close must be called on the client.
func Open(ctx context.Context, o Options) (redis.UniversalClient, error) {
	if o.Timeout == 0 {
		o.Timeout = 500 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	hidden := hider(o.Password)
	redis.SetLogger(logger{o.Log, hidden}) // one for all clients; the default writes to stderr
	opts := &redis.UniversalOptions{
		Addrs: o.Addrs, Username: o.Username, Password: o.Password, DB: o.DB, MasterName: o.SentinelMaster,
		SentinelUsername: o.Username, SentinelPassword: o.Password, TLSConfig: o.TLS,
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		PoolSize:              o.Connections,
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
		MaxRetries:            -1, // callers decide about repetition
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled, // other servers answer with errors
		},
	}
	c, err := dial(ctx, opts)
	if err != nil && o.SentinelMaster != "" && o.Password != "" { // sentinels without one refuse it
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

// explained adds a hint to an error that is typical for TLS on only one side. A server without TLS
// does not answer a handshake, or answers in plain text.
func explained(err error, byTLS bool) error {
	switch _, plain := errors.AsType[tls.RecordHeaderError](err); {
	case byTLS && (plain || os.IsTimeout(err)):
		return fmt.Errorf("%w (does this port speak TLS? cache.master.tls)", err)
	case !byTLS && errors.Is(err, io.EOF):
		return fmt.Errorf("%w (does this port want TLS? cache.master.tls)", err)
	}
	return err
}

// hider replaces the password in texts of the server. Redis repeats unknown commands in its error,
// and AUTH is one where it is renamed.
func hider(password string) *strings.Replacer {
	if password == "" {
		return strings.NewReplacer()
	}
	return strings.NewReplacer(password, "(hidden)")
}

// hiding is an error whose text does not contain the password.
type hiding struct {
	error
	hidden *strings.Replacer
}

func (e hiding) Error() string { return e.hidden.Replace(e.error.Error()) }
func (e hiding) Unwrap() error { return e.error }

// logger receives go-redis's own log lines. They are about reconnecting, and only for debugging.
type logger struct {
	*zap.Logger
	hidden *strings.Replacer
}

func (l logger) Printf(_ context.Context, format string, v ...any) {
	l.Debug("redis client", zap.String("says", l.hidden.Replace(fmt.Sprintf(format, v...))))
}
