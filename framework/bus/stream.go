package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// block bounds one XREAD. go-redis waits 10 s longer for the reply, or as long as the context says.
const block = time.Second

// stream is what one shard has in Redis: its keys, which share a hash slot, and the calls on them.
// It never changes, so it is safe for concurrent use.
type stream struct {
	client  redis.UniversalClient
	timeout time.Duration // of a call
	prefix  string        // before every key
	tag     string        // the hash tag
}

func newStream(cfg *Config, shard int) stream {
	return stream{client: cfg.Client, timeout: cfg.Timeout, prefix: cfg.Prefix, tag: "{s" + strconv.Itoa(shard) + "}"}
}

// entries is the key of the stream itself.
func (s *stream) entries() string { return s.prefix + "WEBSOCKET_BUS:" + s.tag }

// ledger is the key of a hash that says which parts the stream consists of.
func (s *stream) ledger() string { return s.entries() + ":LEDGER" }

// record is the key of the shard's epoch: see enter.
func (s *stream) record() string { return s.entries() + ":EPOCH" }

// written is the key of a sender's hash: n = the highest number that Redis has of it. Of a sender
// that is alone, f and a hold the replies to its last call, from number f on.
func (s *stream) written(token string) string {
	return s.prefix + "WEBSOCKET_SENT:" + s.tag + ":" + token
}

// history is the key of a room's kept messages: a stream with the ids OFFSET-1 and the fields t, a
// = when each was stored and for how long, in ms; b = the body.
func (s *stream) history(room string) string {
	return s.prefix + "WEBSOCKET_HISTORY:" + s.tag + ":" + room
}

// offset is the key of a room's hash: epoch, offset.
func (s *stream) offset(room string) string {
	return s.prefix + "WEBSOCKET_OFFSET:" + s.tag + ":" + room
}

// end asks for the last id of the stream; exists is false where there is no stream yet.
func (s *stream) end(ctx context.Context) (end id, exists bool, err error) {
	info, err := call(ctx, s.timeout, func(ctx context.Context) (*redis.XInfoStream, error) {
		return s.client.XInfoStream(ctx, s.entries()).Result()
	})
	switch {
	case err != nil && strings.Contains(err.Error(), "no such key"):
		return id{}, false, nil
	case err != nil:
		return id{}, false, err
	}
	if end, err = parseID(info.LastGeneratedID); err != nil {
		return id{}, false, err
	}
	return end, true, nil
}

// read waits for entries after position, at most for block. None is no error.
func (s *stream) read(position id, count int) ([]redis.XMessage, error) {
	list, err := call(context.Background(), block+s.timeout, func(ctx context.Context) ([]redis.XStream, error) {
		return s.client.XRead(ctx, &redis.XReadArgs{Streams: []string{s.entries(), position.String()}, Count: int64(count), Block: block}).Result()
	})
	if errors.Is(err, redis.Nil) || err == nil && len(list) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return list[0].Messages, nil
}

// cut removes all entries up to position.
func (s *stream) cut(position id) error {
	_, err := call(context.Background(), s.timeout, func(ctx context.Context) (int64, error) {
		return s.client.XTrimMinID(ctx, s.entries(), id{position.ms, position.seq + 1}.String()).Result()
	})
	return err
}

// forget removes a sender's hash.
func (s *stream) forget(ctx context.Context, token string) error {
	_, err := call(ctx, s.timeout, func(ctx context.Context) (int64, error) {
		return s.client.Del(ctx, s.written(token)).Result()
	})
	return err
}

// run executes one of the scripts.
func (s *stream) run(ctx context.Context, script *redis.Script, keys []string, args []any) ([]string, error) {
	return call(ctx, s.timeout, func(ctx context.Context) ([]string, error) {
		return script.Run(ctx, s.client, keys, args...).StringSlice()
	})
}

// call runs f for at most timeout. It abandons f where the client continues for longer.
func call[T any](ctx context.Context, timeout time.Duration, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	done := make(chan result, 1)
	go func() {
		defer cancel()
		v, err := f(ctx)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // both
		return r.v, r.err
	default:
		var zero T
		return zero, ctx.Err()
	}
}

// id of a stream's entry.
type id struct{ ms, seq uint64 }

func (i id) String() string {
	return strconv.FormatUint(i.ms, 10) + "-" + strconv.FormatUint(i.seq, 10)
}

func (i id) less(j id) bool { return i.ms < j.ms || i.ms == j.ms && i.seq < j.seq }

var errID = errors.New("bus: not an id of a stream")

func parseID(text string) (id, error) {
	ms, seq, ok := strings.Cut(text, "-")
	a, err := strconv.ParseUint(ms, 10, 64)
	b, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || err2 != nil {
		return id{}, fmt.Errorf("%w: %.50q", errID, text)
	}
	return id{a, b}, nil
}
