package bus

import (
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/library/cache"
)

// Errors of Put.
var (
	// ErrNotTaken tells that Redis does not take the message; it will not be delivered.
	ErrNotTaken = errors.New("bus: redis takes no messages")

	// ErrUnknown tells that Redis has not said whether it took the message; it may still be delivered, or kept.
	ErrUnknown = errors.New("bus: redis has not said whether it took a message")

	// ErrQueued tells that other nodes get the message when Redis takes it again. This one does not: the caller delivers it here.
	ErrQueued = errors.New("bus: the message waits for redis, for other nodes")
)

// Put is Send that tells what became of the message: nil = Redis has it, or it was delivered. It waits at most Timeout, and not at all
// where Redis has taken nothing for as long. Without wait it only looks whether Redis has had no memory for as long: what else keeps
// it from answering passes.
func (b *Bus) Put(m *Message, wait bool) error {
	s := b.shard(m.Key)
	stalled := s.stalled(b.cfg.Timeout, !wait)
	if stalled && m.kept() {
		return ErrNotTaken
	}
	it, err := b.send(m, make(chan error, 1))
	if err != nil || !wait && !stalled {
		return err
	}
	if !stalled {
		limit := time.NewTimer(b.cfg.Timeout)
		defer limit.Stop()
		select {
		case err := <-it.done:
			return err
		case <-limit.C:
		}
	}
	return s.give(it)
}

// stalled tells whether messages wait since Redis has taken none for that long.
func (s *shard) stalled(limit time.Duration, full bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0 && (s.oom || !full) && !s.failing.IsZero() && time.Since(s.failing) > limit
}

// give decides about a message that waits for too long.
func (s *shard) give(it *item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case err := <-it.done:
		return err
	default:
	}
	own := s.senders[s.b.Token()]
	switch {
	case it.From != s.b.Token() || s.b.direct() && it.number == 0:
		return ErrUnknown // it is another process's, or behind others here
	case !it.kept() && (s.delivering >= it.number || own != nil && own.number >= it.number):
		return nil
	case !it.kept():
		if s.aside == nil {
			s.aside = map[int64]bool{}
		}
		s.aside[it.number] = true
		return ErrQueued
	case it.trying:
		return ErrUnknown
	}
	// Its number stays, so that none is missing.
	before := it.size()
	it.Kind, it.Body, it.Keep, it.Age = 0, nil, 0, 0
	s.b.bytes.Add(int64(it.size() - before))
	return ErrNotTaken
}

// begin tells whether a message of this sender is to be delivered here.
func (s *shard) begin(from string, number int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from != s.b.Token() {
		return true
	}
	s.delivering = number
	aside := s.aside[number]
	delete(s.aside, number)
	return !aside
}

// trying are the messages of the next call.
func (s *shard) trying(n int) []*item {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := head(s.queue, n)
	for _, it := range items {
		it.trying = true
	}
	return items
}

// tried notes how a call ended. What Redis may have done all the same counts as tried until it has answered.
func (s *shard) tried(items []*item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.failing = time.Time{}
		return
	}
	if s.failing.IsZero() {
		s.failing = time.Now()
	}
	s.oom = cache.Full(err)
	var reply redis.Error
	var dial *net.OpError
	if errors.Is(err, errDoubt) || errors.As(err, &reply) || errors.As(err, &dial) && dial.Op == "dial" {
		for _, it := range items {
			it.trying = false
		}
	}
}

// finish tells who waits. It is called once, when the message leaves the queue.
func (it *item) finish() {
	if it.done == nil {
		return
	}
	var err error
	if it.refused {
		err = ErrNotTaken
	}
	it.done <- err
}
