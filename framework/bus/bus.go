package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/library/cache"
)

// Config of a Bus. Zero means the default.
type Config struct {
	Client redis.UniversalClient
	Prefix string // before every key

	// Alone: the store is this server's own. Nothing is written to the streams.
	Alone   bool
	Shards  int           // streams; every node must have the same number; 4
	Timeout time.Duration // of one Redis call; 500 ms

	// Bounds of what waits to be written; beyond them Send returns ErrFull. 100,000 and 32 MiB.
	PendingMessages, PendingBytes int

	// What is kept per shard for nodes that are late, about, whichever is reached first: 100,000 messages, 64 MiB, 1 minute.
	StreamLength, StreamBytes int
	StreamAge                 time.Duration

	// Doubt is how long the nodes are waited for that compare what they know with what a Redis has that began anew. 5 s.
	Doubt time.Duration

	// Receive is called for each message, in the order of its shard, by one goroutine per shard. What it holds up, it
	// holds up for the whole shard. It must not wait for Redis; panics are logged.
	Receive func(m *Message)

	// Lost is called, like Receive and before the message behind them, where messages were gone before they could be read. concerns
	// tells whether those of a key may be among them. nil = nobody wants to know.
	Lost func(concerns func(key string) bool)

	State []byte // of another process's Suspend: go on as that sender, from those positions

	Log *zap.Logger
}

func (c *Config) fill() error {
	if c.Client == nil || c.Receive == nil {
		return errors.New("bus: Client and Receive are needed")
	}
	if i := strings.Index(c.Prefix, "{"); i >= 0 && strings.Index(c.Prefix[i:], "}") < 2 { // unclosed, or empty
		return fmt.Errorf("bus: the prefix %q would spoil the hash tags of a Redis Cluster", c.Prefix)
	}
	for _, d := range []struct {
		p *int
		v int
	}{{&c.Shards, 4}, {&c.PendingMessages, 100_000}, {&c.PendingBytes, 32 << 20}, {&c.StreamLength, 100_000}, {&c.StreamBytes, 64 << 20}} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if c.StreamAge <= 0 {
		c.StreamAge = time.Minute
	}
	if c.Doubt <= 0 {
		c.Doubt = 5 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 500 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return nil
}

// Errors of Send.
var (
	ErrFull     = errors.New("bus: too much waits for redis")
	ErrTooLarge = errors.New("bus: a message is larger than 4 MiB")
	ErrStopped  = errors.New("bus: stopped")
)

// phase is where a Bus is in its life.
type phase int

const (
	started phase = iota
	running
	suspended
	handed
	stopped
)

// Bus is this process's end of it.
type Bus struct {
	cfg    Config
	shards []*shard

	pending, bytes       atomic.Int64 // of all shards' queues
	sent, received, lost atomic.Int64
	closed               atomic.Bool  // no Send any more
	following            atomic.Int64 // what waits in After

	passed atomic.Bool // Handed
	token  atomic.Pointer[string]
	late   time.Time // until then an alone Bus reads what its predecessor still says

	// Lock order: mu, then shard.mu; of several shards in their order.
	mu    sync.Mutex
	phase phase
	run   *run // the goroutines of now, or the last ones

	complaints complaints
}

// run is one generation of goroutines. They end soon after stop is closed, whatever Redis does; done is closed then.
type run struct {
	stop, done chan struct{}
	work       sync.WaitGroup
}

// Start notes where the streams end, or takes the state, but reads and writes nothing yet. It fails when Redis does not
// answer within ctx and Timeout.
func Start(ctx context.Context, cfg Config) (*Bus, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg}
	b.complaints.log = cfg.Log
	token := rand.Text()
	b.token.Store(&token)
	for i := range cfg.Shards {
		b.shards = append(b.shards, newShard(b, i))
	}
	ends, err := b.ends(ctx)
	if err != nil {
		return nil, err
	}
	for i, s := range b.shards {
		s.floor, s.position = ends[i], ends[i]
	}
	b.examine(ctx)
	if len(cfg.State) > 0 {
		if err := b.adopt(cfg.State); err != nil {
			return nil, err
		}
		b.late = time.Now().Add(lateTime)
	}
	return b, nil
}

// examine says where this node cannot see that Redis has begun anew.
func (b *Bus) examine(ctx context.Context) {
	if b.cfg.Alone {
		return
	}
	_, err := call(ctx, b.cfg.Timeout, func(ctx context.Context) (string, error) { return b.cfg.Client.Info(ctx, "server").Result() })
	if err != nil && cache.Final(err) {
		b.cfg.Log.Warn("redis refuses INFO to this user: histories cannot tell when it came back with older data", zap.Error(err))
	}
}

// ends asks for the last id of each stream.
func (b *Bus) ends(ctx context.Context) ([]id, error) {
	ends := make([]id, len(b.shards))
	for i, s := range b.shards {
		end, _, err := s.end(ctx)
		if err != nil {
			return nil, fmt.Errorf("find the end of a stream between nodes: %w", err)
		}
		ends[i] = end
	}
	return ends, nil
}

// Run begins to write and to read.
func (b *Bus) Run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == started {
		b.phase = running
		b.begin(true)
	}
}

// begin starts the goroutines, once those of before have ended. The caller holds mu.
func (b *Bus) begin(reading bool) {
	before, r := b.run, &run{stop: make(chan struct{}), done: make(chan struct{})}
	b.run = r
	ready := func() bool {
		if before == nil {
			return true
		}
		select {
		case <-before.done:
			return true
		case <-r.stop:
			return false
		}
	}
	until := func() time.Time { return time.Time{} }
	if b.cfg.Alone {
		reading = reading && time.Now().Before(b.late)
		until = func() time.Time { return b.late }
	}
	for _, s := range b.shards {
		r.work.Go(func() {
			if ready() {
				s.write(r.stop)
			}
		})
		if reading {
			r.work.Go(func() {
				if ready() {
					s.read(r.stop, until())
				}
			})
		}
	}
	go func() {
		r.work.Wait()
		if before != nil {
			<-before.done // Receive has no bound
		}
		close(r.done)
	}()
}

// end stops the goroutines of now and waits for them. The caller holds mu.
func (b *Bus) end(ctx context.Context) error {
	if b.run == nil {
		return nil
	}
	select {
	case <-b.run.stop:
	default:
		close(b.run.stop)
	}
	select {
	case <-b.run.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a receiver: %w", ctx.Err())
	}
}

// Stop writes what waits, then ends everything. Its error says how many messages were not written within ctx; no Receive
// runs any more unless it hangs. A read that blocks in Redis ends by itself within seconds, or with the client.
func (b *Bus) Stop(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	if b.phase == running || b.phase == handed {
		err = b.flush(ctx)
	}
	if b.phase == stopped {
		return nil
	}
	b.closed.Store(true)
	for _, s := range b.shards {
		_ = s.emptied() // takes the lock: whoever pushes has pushed
	}
	b.dismissAll()
	left := b.pending.Load()
	state := b.phase == suspended || b.phase == started && len(b.cfg.State) > 0
	if state {
		left = 0 // they are another process's, or are its again
	}
	b.phase = stopped
	// What runs ends within Timeout, also where ctx has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*b.cfg.Timeout)
	defer cancel()
	if e := b.end(ctx); e != nil {
		return e
	}
	if left > 0 {
		if err == nil {
			err = ErrStopped // sent meanwhile, or never run
		}
		return fmt.Errorf("%d messages to other nodes were not written: %w", left, err)
	}
	if !state {
		b.erase(ctx)
	}
	return nil
}

// Flush waits until nothing waits to be written any more.
func (b *Bus) Flush(ctx context.Context) error { return b.flush(ctx) }

// flush waits until nothing waits.
func (b *Bus) flush(ctx context.Context) error {
	for _, s := range b.shards {
		select {
		case <-s.emptied():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// erase removes this sender's records, where nothing can be under way any more that they guard against.
func (b *Bus) erase(ctx context.Context) {
	for _, s := range b.shards {
		if !b.cfg.Alone && !b.passed.Load() {
			if _, err := s.look(ctx, "leave"); err != nil {
				return // it is waited for where Redis begins anew within seconds
			}
		}
		if s.next == 1 || s.late {
			continue
		}
		_, err := call(ctx, b.cfg.Timeout, func(ctx context.Context) (int64, error) { return b.cfg.Client.Del(ctx, s.written(b.Token())).Result() })
		if err != nil {
			return // they expire
		}
	}
}

// Token is this sender's, as in Message.From.
func (b *Bus) Token() string { return *b.token.Load() }

// Stats is what a Bus counts.
type Stats struct {
	Pending  int   // messages that Redis does not have yet
	Sent     int64 // messages that it took
	Received int64 // messages given to Receive
	Lost     int64 // messages that Redis refused for good, or that were gone before they could be read
	Shards   int
}

// Stats asks nobody.
func (b *Bus) Stats() Stats {
	return Stats{int(b.pending.Load()), b.sent.Load(), b.received.Load(), b.lost.Load(), len(b.shards)}
}

// call runs f with the time a call has, and leaves it alone where the client goes on longer.
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

// complaints logs at most one of a kind per second.
type complaints struct {
	log  *zap.Logger
	mu   sync.Mutex
	last map[string]time.Time
}

func (c *complaints) say(text string, fields ...zap.Field) {
	now := time.Now()
	c.mu.Lock()
	if now.Sub(c.last[text]) < time.Second {
		c.mu.Unlock()
		return
	}
	if c.last == nil {
		c.last = map[string]time.Time{}
	}
	c.last[text] = now
	c.mu.Unlock()
	c.log.Error(text, fields...)
}
