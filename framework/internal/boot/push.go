package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"wsframe/framework"
	"wsframe/framework/push"
	"wsframe/library/cache"
	"wsframe/library/config"
	"wsframe/library/log"
)

// pushPrefix begins the push port's own keys in Redis.
const pushPrefix = "WSFRAME_PUSH:"

// newPush makes the port for back ends.
func newPush(cfg *config.App, deps framework.Deps, embedded bool, a *framework.App, metrics prometheus.Gatherer, l *log.Logger) (*push.Server, error) {
	c := push.Config{
		Backend: backend{a.Server}, Store: store{deps.Redis, deps.Prefix + pushPrefix, embedded},
		RateLimit: cfg.Push.RequestRate, RefusedRate: cfg.Limits.RefusedRate, MaxBody: cfg.Push.MaxBody, KeptBytes: cfg.Push.KeptBytes, OnlineCount: cfg.Push.OnlineCount, Log: l.Logger,
		Ready:   func() bool { return !a.Isolated() },
		Metrics: func(out io.Writer) error { return writeMetrics(out, metrics) },
	}
	for _, text := range cfg.Push.Tokens {
		token, err := push.ParseToken(text)
		if err != nil {
			return nil, err
		}
		c.Tokens = append(c.Tokens, token)
	}
	return push.NewServer(c), nil
}

// store implements push.Store.
type store struct {
	redis    redis.UniversalClient
	prefix   string
	embedded bool
}

func (s store) Claim(ctx context.Context, key string, value []byte, age time.Duration) ([]byte, error) {
	for range 3 { // the key may expire between the two commands
		free, err := s.redis.SetNX(ctx, s.prefix+key, value, age).Result()
		if cache.Full(err) {
			err = fmt.Errorf("%w: %w", push.ErrStoreFull, err)
		}
		if err != nil || free {
			return nil, err
		}
		there, err := s.redis.Get(ctx, s.prefix+key).Bytes()
		if !errors.Is(err, redis.Nil) {
			return there, err
		}
	}
	return nil, errors.New("a key in Redis comes and goes")
}

func (s store) Put(ctx context.Context, key string, value []byte, age time.Duration) error {
	return s.redis.Set(ctx, s.prefix+key, value, age).Err()
}

// removal deletes a key that has a value, in one step: a value that another caller has put
// meanwhile stays.
var removal = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

func (s store) Remove(ctx context.Context, key string, value []byte) error {
	return removal.Run(ctx, s.redis, []string{s.prefix + key}, value).Err()
}

// Durable waits for the disk of the embedded store. Any other Redis is configured by its operator.
func (s store) Durable(ctx context.Context) error {
	if !s.embedded {
		return nil
	}
	return cache.Sync(ctx, s.redis)
}

// backend implements push.Backend by the application's API.
type backend struct{ *framework.Server }

func replyOf(p *push.Push) *framework.Reply {
	r := framework.OK(p.Event, p.Info)
	if p.Status != 0 {
		r.Status = p.Status
	}
	if len(p.Param) > 0 {
		r.Param = p.Param
	}
	return r
}

// optionsOf makes calls wait for the store, so that a push that was accepted arrives.
func optionsOf(p *push.Push) []framework.PublishOption {
	list := []framework.PublishOption{framework.Durable}
	if len(p.Except) > 0 {
		list = append(list, framework.Except(p.Except...))
	}
	switch p.Class {
	case push.DropOldest:
		list = append(list, framework.DropOldest)
	case push.Latest:
		list = append(list, framework.Latest(p.Key))
	}
	return list
}

func queued(err error) error {
	if errors.Is(err, framework.ErrQueued) {
		return push.ErrQueued
	}
	return err
}

func (b backend) SendToFD(fd int64, p *push.Push) error {
	return queued(b.Server.SendToFD(fd, replyOf(p), optionsOf(p)...))
}

func (b backend) SendToUID(uid string, p *push.Push) error {
	return queued(b.Server.SendToUID(uid, replyOf(p), optionsOf(p)...))
}

func (b backend) SendToRoom(room string, p *push.Push, k push.Keep) error {
	options := optionsOf(p)
	if k.Length > 0 {
		options = append(options, framework.Keep(k.Length, k.Age()))
	}
	return queued(b.Server.SendToRoom(room, replyOf(p), options...))
}

func (b backend) SendToAll(p *push.Push) error {
	return queued(b.Server.SendToAll(replyOf(p), optionsOf(p)...))
}

func (b backend) Reach(ctx context.Context, uid string, p *push.Push) (int, error) {
	return b.Server.Reach(ctx, uid, replyOf(p), optionsOf(p)...)
}

func (b backend) Join(ctx context.Context, fd int64, room string, announce bool) error {
	var options []framework.JoinOption
	if announce {
		options = append(options, framework.Announce)
	}
	return b.Server.Join(ctx, fd, room, options...)
}

func (b backend) SendToMany(t push.Targets, p *push.Push) error {
	return queued(framework.SendToMany(b.Server, framework.Targets(t), replyOf(p), optionsOf(p)...))
}

func (b backend) JoinUID(ctx context.Context, uid, room string, announce bool) (int, error) {
	var options []framework.JoinOption
	if announce {
		options = append(options, framework.Announce)
	}
	return framework.UserOf(b.Server, uid).Join(ctx, room, options...)
}

func (b backend) LeaveUID(ctx context.Context, uid, room string) (int, error) {
	return framework.UserOf(b.Server, uid).Leave(ctx, room)
}

func (b backend) UpdateSessionUID(ctx context.Context, uid string, values map[string]json.RawMessage) (int, error) {
	return framework.UserOf(b.Server, uid).UpdateSession(ctx, anyOf(values))
}

func (b backend) UIDConnections(ctx context.Context, uid string) ([]framework.Connection, error) {
	return framework.UserOf(b.Server, uid).Connections(ctx)
}

func anyOf(values map[string]json.RawMessage) map[string]any {
	m := make(map[string]any, len(values))
	for name, v := range values {
		if string(v) == "null" {
			m[name] = nil
			continue
		}
		m[name] = v
	}
	return m
}

func (b backend) SetSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return b.Server.SetSession(ctx, fd, anyOf(values))
}

func (b backend) UpdateSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return b.Server.UpdateSession(ctx, fd, anyOf(values))
}

func (b backend) ErrorCode(err error) (push.Code, string) {
	for _, known := range []struct {
		err  error
		code push.Code
	}{
		{framework.ErrNoConnection, push.CodeNoConnection}, {framework.ErrClosed, push.CodeNoConnection}, {framework.ErrSlow, push.CodeNoConnection},
		{framework.ErrUnavailable, push.CodeUnavailable}, {framework.ErrPartial, push.CodePartial}, {framework.ErrBusy, push.CodeQueueFull}, {framework.ErrNotTaken, push.CodeBusy}, {framework.ErrUnknown, push.CodeTimeout}, {framework.ErrTooLarge, push.CodeTooLarge},
		{framework.ErrName, push.CodeBadRequest}, {framework.ErrReserved, push.CodeBadRequest}, {framework.ErrUID, push.CodeBadRequest},
		{framework.ErrTooManyKeys, push.CodeLimit}, {framework.ErrSessionSize, push.CodeLimit},
		{framework.ErrTooManyRooms, push.CodeLimit}, {framework.ErrTooManyUsers, push.CodeLimit},
	} {
		if errors.Is(err, known.err) {
			return known.code, ""
		}
	}
	return push.CodeInternal, ""
}
