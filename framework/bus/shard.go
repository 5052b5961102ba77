package bus

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// shard is one stream as this process uses it. Callers of Send put messages into its queue; its
// writer brings them to Redis, and its reader delivers what comes from there.
//
//	Send ─▶ queue ─▶ writer ─▶ Redis ─▶ fetcher ─▶ reader ─▶ Receive
//	                   └─ alone: at once ──────────────────────▲
//
// All methods but write and read are safe for concurrent use. Of those one each runs at a time.
type shard struct {
	stream
	index int
	cfg   *Config

	epoch     *shardEpoch
	interest  *interest // nil = everything is read
	sender    *sender
	budget    *budget
	counts    *counts
	receiver  *receiver
	log       *complaints
	waits     *followers // of all shards
	writer    writer
	wake      chan struct{} // 1
	doubtful  atomic.Bool   // Redis was unreachable: what it has is to be compared
	receiving sync.Mutex    // held during Receive: a Bus that is alone may deliver from writer and reader

	// mu guards the rest.
	mu        sync.Mutex
	queue     queue
	progress  progress
	bypass    bypass
	outage    outage
	followers []*follower // that wait for messages of this shard
}

// push appends a message to the queue. It returns nil after Stop.
func (s *shard) push(m *Message, lane int, done chan error) *item {
	it := &item{Message: *m, lane: lane, done: done}
	it.Offset, it.Epoch, it.At = 0, "", time.Time{}
	if it.Age > 0 {
		it.Age = max(it.Age, time.Millisecond)
	}
	s.mu.Lock()
	if s.sender.closed.Load() {
		s.mu.Unlock()
		return nil
	}
	s.queue.push(it)
	s.mu.Unlock()
	s.nudge()
	return it
}

func (s *shard) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pop removes the oldest messages, which are done.
func (s *shard) pop(items []*item) {
	s.mu.Lock()
	bytes := s.queue.pop(items)
	ready := s.arrived()
	s.mu.Unlock()
	s.budget.release(int64(len(items)), bytes)
	s.waits.release(ready...)
}

// keeps is Bus.Keeps.
func (s *shard) keeps(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.keeping[key] > 0
}

// flushed returns a channel that is closed as soon as Redis has everything that was pushed before.
func (s *shard) flushed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.written()
}

// rouse has the fetcher look what is wanted.
func (s *shard) rouse() {
	if err := s.awaken(s.sender.Token()); err != nil {
		s.cfg.Log.Debug("the reader of messages between nodes is not woken", zap.String("shard", s.tag), zap.Error(err))
	}
}

// waiting returns the number of messages that are not written. Pushes and pops that run have ended
// before.
func (s *shard) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue.items)
}

// next returns the messages of the next call, at most n. Redis may have them from now on.
func (s *shard) next(n int) []*item {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := head(s.queue.items, n)
	for _, it := range items {
		it.trying = true
	}
	return items
}

// tried notes how a call ended. After an error Redis may still have executed it, unless the error
// says otherwise.
func (s *shard) tried(items []*item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage.note(err)
	if err != nil && untouched(err) {
		for _, it := range items {
			it.trying = false
		}
	}
}

// stalled reports whether messages have waited for longer than limit for a Redis that accepts none.
func (s *shard) stalled(limit time.Duration, full bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue.items) > 0 && s.outage.exceeds(limit, full)
}

// withdraw decides about a message that has waited for too long: see the errors of Put.
func (s *shard) withdraw(it *item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case err := <-it.done:
		return err
	default:
	}
	token := s.sender.Token()
	switch {
	case it.From != token || s.sender.direct() && it.number == 0:
		return ErrUnknown // it is another process's, or waits here for others
	case !it.kept() && (s.bypass.begun >= it.number || s.progress.has(token, it.number)):
		return nil
	case !it.kept():
		s.bypass.add(it.number)
		return ErrQueued
	case it.trying:
		return ErrUnknown
	}
	// An empty message keeps its number, so that none is missing.
	before := it.size()
	it.Kind, it.Body, it.Keep, it.Age = 0, nil, 0, 0
	s.budget.bytes.Add(int64(it.size() - before))
	return ErrNotTaken
}

// deliver gives a message to the application.
func (s *shard) deliver(m *Message) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	s.receiver.deliver(m)
}
