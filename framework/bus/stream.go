package bus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// block bounds one XREAD. go-redis waits 10 s longer for the reply, or as long as the context says.
const block = time.Second

// wakeTime is the time to live of the key of waking.
const wakeTime = time.Minute

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

// lane is the key of a sub-stream: it has copies of the messages to its rooms, with the same ids.
// That of lane 0 has copies of the messages that all nodes read.
func (s *stream) lane(lane int) string { return s.entries() + ":" + strconv.Itoa(lane) }

// all are the keys of all streams.
func (s *stream) all(lanes int) []string {
	keys := []string{s.entries()}
	for lane := 0; lane <= lanes && lanes > 0; lane++ {
		keys = append(keys, s.lane(lane))
	}
	return keys
}

// waking is the key of a stream that only the reader with that token reads. An entry ends its wait.
func (s *stream) waking(token string) string { return s.entries() + ":WAKE:" + token }

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

// end asks for the last id of the shard's streams; exists is false where there is none yet. The
// ledger has it, unless another version has written last.
func (s *stream) end(ctx context.Context) (end id, exists bool, err error) {
	type reply struct {
		info   *redis.XInfoStream
		ledger []any
	}
	r, err := call(ctx, s.timeout, func(ctx context.Context) (r reply, err error) {
		p := s.client.Pipeline()
		info, ledger := p.XInfoStream(ctx, s.entries()), p.HMGet(ctx, s.ledger(), "ms", "seq")
		_, _ = p.Exec(ctx) // of each below
		if r.ledger, err = ledger.Result(); err != nil {
			return r, err
		}
		if r.info, err = info.Result(); err != nil && strings.Contains(err.Error(), "no such key") {
			r.info, err = nil, nil
		}
		return r, err
	})
	if err != nil {
		return id{}, false, err
	}
	ms, ok := r.ledger[0].(string)
	seq, ok2 := r.ledger[1].(string)
	if ok && ok2 {
		if end, err = parseID(ms + "-" + seq); err != nil {
			return id{}, false, err
		}
		exists = true
	}
	if r.info != nil {
		last, err := parseID(r.info.LastGeneratedID)
		if err != nil {
			return id{}, false, err
		}
		if exists = true; end.less(last) {
			end = last
		}
	}
	return end, exists, nil
}

// read waits for entries of several streams, each after its id, at most for block. None is no
// error. streams are the keys, then the ids.
//
// A reply to a read that has waited may have the entries of the first stream that got some, and
// lack older ones of others. So with several streams it is only a sign to read without a wait,
// which returns the state of one moment.
func (s *stream) read(streams []string, count int) ([]redis.XStream, error) {
	list, err := s.readOnce(streams, count, block)
	if err == nil && len(list) > 0 && len(streams) > 2 {
		return s.readOnce(streams, count, -1)
	}
	return list, err
}

func (s *stream) readOnce(streams []string, count int, wait time.Duration) ([]redis.XStream, error) {
	list, err := call(context.Background(), max(wait, 0)+s.timeout, func(ctx context.Context) ([]redis.XStream, error) {
		return s.client.XRead(ctx, &redis.XReadArgs{Streams: streams, Count: int64(count), Block: wait}).Result()
	})
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return list, err
}

// awaken ends the wait of the reader with that token.
func (s *stream) awaken(token string) error {
	_, err := call(context.Background(), s.timeout, func(ctx context.Context) ([]redis.Cmder, error) {
		key := s.waking(token)
		return s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.XAdd(ctx, &redis.XAddArgs{Stream: key, MaxLen: 1, Values: []any{"w", "1"}})
			p.PExpire(ctx, key, wakeTime)
			return nil
		})
	})
	return err
}

// cut removes all entries up to position from the streams.
func (s *stream) cut(position id, streams []string) error {
	after := id{position.ms, position.seq + 1}.String()
	_, err := call(context.Background(), s.timeout, func(ctx context.Context) ([]redis.Cmder, error) {
		return s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range streams {
				p.XTrimMinID(ctx, key, after)
			}
			return nil
		})
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
