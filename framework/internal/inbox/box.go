// Package inbox carries answers to the process that has asked: each process has a Redis stream of
// its own, which no other process reads. Package ask puts the stream's name into its questions.
//
// An answer is worth something only until its asker's time limit, so the package promises less than
// package bus: an answer may come twice, and one that Redis does not accept in time is dropped. The
// asker reports the missing one (ask.ErrPartial).
//
// A Box has no goroutine, and sends no command, unless a question is open or an answer waits. The
// stream expires by itself.
package inbox

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
)

const (
	// blockTime bounds one read, which Close does not interrupt.
	blockTime = time.Second

	// keepTime is for how long after the last answer a stream exists.
	keepTime = 10 * time.Second

	// Bounds of the entries of one read, of one write and of a stream that nobody reads.
	maxRead, maxBatch, maxEntries = 512, 256, 10_000

	// Bounds of the answers that wait for Redis.
	maxWaiting, maxBytes = 10_000, 16 << 20

	retryMin, retryMax = 10 * time.Millisecond, 200 * time.Millisecond
)

// ErrFull is returned where too many answers wait for Redis.
var ErrFull = errors.New("too many answers wait for redis")

// Config of a Box.
type Config struct {
	Client  redis.UniversalClient
	Prefix  string        // before every key
	Timeout time.Duration // of one Redis call, and of a question: for so long an answer is tried
	Log     *zap.Logger
}

// Box is the inbox of this process, and its way to those of others. Methods are safe for concurrent
// use.
type Box struct {
	cfg   Config
	name  string
	block time.Duration // blockTime, or less in tests
	done  chan struct{} // closed by Close

	mu      sync.Mutex // a leaf
	receive func(body []byte)
	open    int           // questions that wait for answers
	reading bool          // a goroutine reads
	writing chan struct{} // closed when the goroutine that writes ends; nil = none runs
	waiting []letter
	bytes   int // of waiting
	closed  bool
}

// letter is an answer that waits for Redis.
type letter struct {
	to   string
	body []byte
	till time.Time // then it is dropped
}

// New makes a Box with a new random name.
func New(cfg Config) *Box {
	return &Box{cfg: cfg, name: rand.Text(), block: blockTime, done: make(chan struct{})}
}

// Name is the address of this process for Send.
func (b *Box) Name() string { return b.name }

// Expect has answers read until stop is called, once. receive is called for each answer to any open
// question of this process, by one goroutine; it must not wait.
func (b *Box) Expect(receive func(body []byte)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receive = receive
	b.open++
	if !b.reading && !b.closed {
		b.reading = true
		go b.read()
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
	}
}

// Send sends an answer to the process with that name. It never waits.
func (b *Box) Send(to string, body []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.waiting) >= maxWaiting || b.bytes+len(body) > maxBytes {
		return ErrFull
	}
	b.waiting = append(b.waiting, letter{to, body, time.Now().Add(b.cfg.Timeout)})
	b.bytes += len(body)
	if b.writing == nil {
		b.writing = make(chan struct{})
		go b.write(b.writing)
	}
	return nil
}

// Close waits for the answers that wait, at most until ctx ends or until they are too late, and
// removes the stream. A read that blocks in Redis ends within a second, or with the client.
func (b *Box) Close(ctx context.Context) {
	b.mu.Lock()
	was, writing := b.closed, b.writing
	b.closed = true
	b.mu.Unlock()
	if was {
		return
	}
	close(b.done)
	if writing != nil {
		select {
		case <-writing:
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	_ = b.cfg.Client.Del(ctx, b.key(b.name)).Err() // else it expires
}

func (b *Box) key(name string) string { return b.cfg.Prefix + "WEBSOCKET_INBOX:" + name }

// read receives answers while questions are open.
func (b *Box) read() {
	pauses := backoff.Backoff{Min: retryMin, Max: retryMax}
	for {
		b.mu.Lock()
		if b.open == 0 || b.closed {
			b.reading = false
			b.mu.Unlock()
			return
		}
		receive := b.receive
		b.mu.Unlock()
		err := b.page(receive)
		if err == nil {
			pauses.Reset()
			continue
		}
		if !pauses.Failing() {
			b.cfg.Log.Warn("answers of other nodes cannot be read; tried again", zap.Error(err))
		}
		pauses.Wait(b.done)
	}
}

// page waits for answers and removes them from the stream. It always begins at the stream's begin,
// so it depends on no position, which a Redis with older data or another clock would not have.
func (b *Box) page(receive func(body []byte)) error {
	ctx, cancel := context.WithTimeout(context.Background(), b.block+b.cfg.Timeout)
	defer cancel()
	list, err := b.cfg.Client.XRead(ctx, &redis.XReadArgs{
		Streams: []string{b.key(b.name), "0-0"}, Count: maxRead, Block: b.block,
	}).Result()
	if errors.Is(err, redis.Nil) || err == nil && len(list) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(list[0].Messages))
	for _, m := range list[0].Messages {
		ids = append(ids, m.ID)
		if body, ok := m.Values["b"].(string); ok {
			receive([]byte(body))
		}
	}
	return b.cfg.Client.XDel(ctx, b.key(b.name), ids...).Err()
}

// write writes what waits, oldest first, and closes done.
func (b *Box) write(done chan struct{}) {
	defer close(done)
	pauses := backoff.Backoff{Min: retryMin, Max: retryMax}
	for {
		list := b.next()
		if list == nil {
			return
		}
		err := b.send(list)
		if err == nil {
			pauses.Reset()
			continue
		}
		if !pauses.Failing() {
			b.cfg.Log.Warn("redis does not take answers to other nodes", zap.Error(err))
		}
		pauses.Wait(nil)
	}
}

// next returns the answers of the next call, without those that nobody waits for any more. nil ends
// the writer.
func (b *Box) next() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	late := 0
	for now := time.Now(); late < len(b.waiting) && now.After(b.waiting[late].till); late++ {
	}
	b.drop(late)
	if len(b.waiting) == 0 {
		b.waiting, b.writing = nil, nil
		return nil
	}
	n := min(len(b.waiting), maxBatch)
	return b.waiting[:n:n]
}

// drop removes the oldest answers. The caller holds mu.
func (b *Box) drop(n int) {
	for i := range b.waiting[:n] {
		b.bytes -= len(b.waiting[i].body)
		b.waiting[i] = letter{}
	}
	b.waiting = b.waiting[n:]
}

// send writes answers by one pipeline. After an error all are written again: one that comes twice
// does no harm.
func (b *Box) send(list []letter) error {
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.Timeout)
	defer cancel()
	pipe := b.cfg.Client.Pipeline()
	keys := map[string]bool{}
	for i := range list {
		key := b.key(list[i].to)
		keys[key] = true
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: key, MaxLen: maxEntries, Approx: true, Values: []any{"b", list[i].body}})
	}
	for key := range keys {
		pipe.PExpire(ctx, key, keepTime)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(len(list))
	return nil
}
