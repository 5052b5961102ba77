package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/library/cache"
)

// phase is where a Bus is in its life.
type phase int

const (
	started phase = iota
	running
	suspended
	detached
	stopped
)

// afterReloadTime is for how long after a reload a Bus that is alone reads what the previous
// process still sends.
const afterReloadTime = 10 * time.Minute

// Bus is this process's connection to the other nodes.
type Bus struct {
	cfg       *Config
	sender    *sender
	shards    []*shard
	budget    *budget
	counts    *counts
	followers *followers
	readUntil time.Time // of a Bus that is alone: the end of afterReloadTime

	// mu is taken before shard.mu. Of several shard.mu, that of the lower index comes first.
	mu    sync.Mutex
	phase phase
	run   *run // the current goroutines, or the last ones
}

// run is one generation of goroutines. They end soon after stop is closed, whatever Redis does.
// Then done is closed.
type run struct {
	stop, done chan struct{}
	work       sync.WaitGroup
}

// Start finds the ends of the streams, or takes the state, but reads and writes nothing yet. It
// fails when Redis does not answer within ctx and Config.Timeout.
func Start(ctx context.Context, cfg Config) (*Bus, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	b := newBus(&cfg)
	for _, s := range b.shards {
		end, _, err := s.end(ctx)
		if err != nil {
			return nil, fmt.Errorf("find the end of a stream between nodes: %w", err)
		}
		s.progress.floor, s.progress.position = end, end
	}
	if !cfg.Alone {
		b.examine(ctx)
		if err := b.shards[0].epoch.agree(ctx); err != nil {
			return nil, fmt.Errorf("read who reads the streams between nodes: %w", err)
		}
	}
	if len(cfg.State) > 0 {
		if err := b.adopt(cfg.State); err != nil {
			return nil, err
		}
		b.readUntil = time.Now().Add(afterReloadTime)
	}
	for _, s := range b.shards {
		if s.interest != nil {
			s.interest.reset(s.progress.position, func(lane int) bool { return s.progress.lanes[lane].read })
		}
	}
	return b, nil
}

func newBus(cfg *Config) *Bus {
	b := &Bus{
		cfg: cfg, sender: newSender(rand.Text(), cfg.Alone), counts: &counts{},
		budget: &budget{maxMessages: int64(cfg.PendingMessages), maxBytes: int64(cfg.PendingBytes)},
	}
	log := newComplaints(cfg.Log)
	b.followers = &followers{sender: b.sender, limit: int64(cfg.PendingMessages), log: log}
	for i := range cfg.Shards {
		s := &shard{
			stream: newStream(cfg, i), index: i, cfg: cfg, sender: b.sender, budget: b.budget, counts: b.counts,
			receiver: &receiver{cfg, b.counts, log}, log: log, waits: b.followers, wake: make(chan struct{}, 1),
			queue: queue{sender: b.sender, next: 1, newest: make([]int64, cfg.lanes()+1)}, progress: newProgress(cfg.lanes()),
		}
		if cfg.lanes() > 0 {
			s.interest = cfg.Interest.shards[i]
		}
		s.epoch = newShardEpoch(cfg, &s.stream, b.sender)
		s.writer = writer{s: s, batch: maxBatch}
		b.shards = append(b.shards, s)
	}
	b.followers.shards = b.shards
	return b
}

// examine warns where this node cannot see that Redis was restarted.
func (b *Bus) examine(ctx context.Context) {
	_, err := call(ctx, b.cfg.Timeout, func(ctx context.Context) (string, error) { return b.cfg.Client.Info(ctx, "server").Result() })
	if err != nil && cache.Final(err) {
		b.cfg.Log.Warn("redis refuses INFO to this user: histories cannot tell when it came back with older data", zap.Error(err))
	}
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

// begin starts the goroutines, once the previous ones have ended. The caller holds mu.
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
	until := time.Time{}
	if b.cfg.Alone {
		until = b.readUntil
		reading = reading && time.Now().Before(until)
	}
	for _, s := range b.shards {
		if s.interest != nil {
			s.interest.pause(!reading)
		}
		r.work.Go(func() {
			if ready() {
				s.writer.run(r.stop)
			}
		})
		if reading {
			r.work.Go(func() {
				if ready() {
					s.receive(r.stop, until)
				}
			})
		}
	}
	go func() {
		r.work.Wait()
		if before != nil {
			<-before.done // Receive has no time limit
		}
		close(r.done)
	}()
}

// end stops the current goroutines and waits for them. The caller holds mu.
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
	case <-ctx.Done():
		return fmt.Errorf("wait for a receiver: %w", ctx.Err())
	}
	for _, s := range b.shards {
		if s.interest != nil {
			s.interest.pause(true)
		}
	}
	return nil
}

// Stop writes what waits, then ends everything. Its error says how many messages were not written
// within ctx. No Receive runs any more unless it hangs. A read that blocks in Redis ends by itself
// within seconds, or with the client.
func (b *Bus) Stop(ctx context.Context) error {
	err := b.stop(ctx)
	b.followers.expireAll() // without mu: the functions belong to others
	return err
}

// stop is Stop without the followers.
func (b *Bus) stop(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	if b.phase == running || b.phase == detached {
		err = b.Flush(ctx)
	}
	if b.phase == stopped {
		return nil
	}
	b.sender.closed.Store(true)
	unwritten := 0
	for _, s := range b.shards {
		unwritten += s.waiting()
	}
	shared := b.phase == suspended || b.phase == started && len(b.cfg.State) > 0
	if shared {
		unwritten = 0 // another process writes them
	}
	b.phase = stopped
	// The goroutines end within Timeout, also where ctx has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*b.cfg.Timeout)
	defer cancel()
	if e := b.end(ctx); e != nil {
		return e
	}
	if unwritten > 0 {
		if err == nil {
			err = ErrStopped // sent meanwhile, or never run
		}
		return fmt.Errorf("%d messages to other nodes were not written: %w", unwritten, err)
	}
	if !shared {
		b.erase(ctx)
	}
	return nil
}

// erase removes this sender's records, except where a call may still be executed that they guard
// against.
func (b *Bus) erase(ctx context.Context) {
	for _, s := range b.shards {
		if !b.cfg.Alone && !b.sender.detached.Load() {
			if err := s.epoch.leave(ctx); err != nil {
				return // others wait for it if Redis is restarted within seconds
			}
		}
		if s.queue.next == 1 || s.writer.uncertain {
			continue
		}
		if err := s.forget(ctx, b.Token()); err != nil {
			return // they expire
		}
	}
}

// Flush waits until Redis has everything that was sent before, or ctx ends.
func (b *Bus) Flush(ctx context.Context) error {
	for _, s := range b.shards {
		select {
		case <-s.flushed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Token is this sender's name, as in Message.From.
func (b *Bus) Token() string { return b.sender.Token() }

// Send appends a message to the queue of its shard; it never waits. From, Offset, Epoch and At are
// ignored. The message is delivered on all nodes, this one included.
func (b *Bus) Send(m *Message) error {
	_, err := b.send(m, nil)
	return err
}

func (b *Bus) send(m *Message, done chan error) (*item, error) {
	if len(m.Body) > maxBody {
		return nil, ErrTooLarge
	}
	if b.sender.closed.Load() {
		return nil, ErrStopped
	}
	size := int64(m.size())
	if !b.budget.acquire(size) {
		return nil, ErrFull
	}
	s, lane := b.place(m.Key, m.Room)
	it := s.push(m, lane, done)
	if it == nil {
		b.budget.release(1, size)
		return nil, ErrStopped
	}
	return it, nil
}

func (b *Bus) shard(key string) *shard { return b.shards[shardOf(key, len(b.shards))] }

// place is the shard and the lane of a message.
func (b *Bus) place(key string, room bool) (*shard, int) {
	if lanes := b.cfg.lanes(); room && lanes > 0 {
		return b.shard(key), laneOf(key, len(b.shards), lanes)
	}
	return b.shard(key), 0
}

// Keeps reports whether messages of the key wait here to be kept, or wait for such. A message that
// is delivered otherwise would overtake them.
func (b *Bus) Keeps(key string) bool { return b.shard(key).keeps(key) }

// Cursor is the position after everything that was sent here before; nil where nothing is on its
// way.
func (b *Bus) Cursor() (c Cursor) {
	for i, s := range b.shards {
		if text := s.cursor(); text != "" {
			if c == nil {
				c = make(Cursor, len(b.shards))
			}
			c[i] = text
		}
	}
	return c
}

// After calls f once this node has received everything that the sender had sent before its cursor,
// or after limit. Where nothing is on its way it calls f at once, else in the goroutine that
// receives the last message, which f must not delay. It also calls f at once where very many
// functions wait already, when the bus stops, and after Detach: then nothing is received.
func (b *Bus) After(token string, c Cursor, limit time.Duration, f func()) {
	b.followers.after(token, c, limit, f)
}

// Stats returns the current counts. It needs no Redis.
func (b *Bus) Stats() Stats {
	return Stats{int(b.budget.messages.Load()), b.counts.sent.Load(), b.counts.read.Load(), b.counts.received.Load(), b.counts.lost.Load(), len(b.shards)}
}
