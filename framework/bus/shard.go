package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// item is a message on its way.
type item struct {
	Message
	number    int64      // of this sender in this shard; 0 = it does not go to Redis
	done      chan error // who waits; 1
	trying    bool       // Redis may have it; under shard.mu
	counted   bool       // in shard.keeping
	delivered bool       // given to Receive by the writer
	refused   bool       // counted as lost
	taken     time.Time
}

// shard is one stream and what this process knows of it.
type shard struct {
	b   *Bus
	tag string // of its keys: they share a slot

	mu      sync.Mutex
	queue   []*item // what waits, oldest first
	next    int64   // the number of the next message
	waiters []chan struct{}

	keeping map[string]int // of an alone Bus: how many messages wait, by key, since the first that is to be kept

	pushed, popped int64     // messages that came into the queue, and went
	last           time.Time // when the newest came
	followers      []*follower

	knows      knowledge
	failing    time.Time      // since when Redis takes nothing; zero = it does
	oom        bool           // it has no memory
	aside      map[int64]bool // own messages that were delivered here beside the stream
	delivering int64          // own message that is, or was, delivered last

	wake chan struct{} // 1

	doubtful atomic.Bool // Redis was away: what it has is to be compared

	// The writer's; Suspend's while none runs.
	known    int64   // the highest number that Redis has of this sender, as far as we know
	retained []*item // taken by Redis a moment ago, oldest first
	bytes    int     // of retained
	resend   []*item // of these, what Redis has lost
	batch    int     // messages of the next call
	late     bool    // a call's answer was lost
	full     time.Time

	// The reader's; Suspend's while none runs. Changed under mu, for those who follow.
	position, floor id
	senders         map[string]*sender

	stated int // of the queue, what is in the state of a Suspend; under mu

	receiving sync.Mutex // held during Receive: beside the writer of an alone Bus the predecessor's messages are read
}

func newShard(b *Bus, i int) *shard {
	return &shard{b: b, tag: "{s" + strconv.Itoa(i) + "}", next: 1, batch: maxBatch, wake: make(chan struct{}, 1), senders: map[string]*sender{}}
}

// Keys, all of one slot.

func (s *shard) stream() string { return s.b.cfg.Prefix + "WEBSOCKET_BUS:" + s.tag }
func (s *shard) ledger() string { return s.stream() + ":LEDGER" } // hash: what the stream consists of
func (s *shard) written(token string) string { // hash: n = the highest number of a sender; of an alone one f, a = the answers from number f on
	return s.b.cfg.Prefix + "WEBSOCKET_SENT:" + s.tag + ":" + token
}
func (s *shard) history(room string) string { // stream with ids OFFSET-1: t, a = when and for how long, in ms; b = body
	return s.b.cfg.Prefix + "WEBSOCKET_HISTORY:" + s.tag + ":" + room
}
func (s *shard) record() string { return s.stream() + ":EPOCH" } // see epoch.go
func (s *shard) offset(room string) string { // hash: epoch, offset
	return s.b.cfg.Prefix + "WEBSOCKET_OFFSET:" + s.tag + ":" + room
}

// push appends a message. It refuses after Stop: nil.
func (s *shard) push(m *Message, done chan error) *item {
	it := &item{Message: *m, done: done}
	it.Offset, it.Epoch, it.At = 0, "", time.Time{}
	if it.Age > 0 {
		it.Age = max(it.Age, time.Millisecond)
	}
	s.mu.Lock()
	if s.b.closed.Load() {
		s.mu.Unlock()
		return nil
	}
	it.From = s.b.Token()
	if !s.b.direct() || it.placed() {
		it.number = s.next
		s.next++
	}
	s.enqueue(it)
	s.last = time.Now()
	s.mu.Unlock()
	s.nudge()
	return it
}

// enqueue appends it. The caller holds mu.
func (s *shard) enqueue(it *item) {
	s.queue = append(s.queue, it)
	s.pushed++
	if s.b.cfg.Alone && (it.kept() || s.keeping[it.Key] > 0) {
		if s.keeping == nil {
			s.keeping = map[string]int{}
		}
		s.keeping[it.Key]++
		it.counted = true
	}
}

// Keeps tells whether messages of the key wait here to be kept, or behind such. What is delivered otherwise would overtake them.
func (b *Bus) Keeps(key string) bool {
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keeping[key] > 0
}

func (s *shard) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// head are the oldest messages of a list for one call: at most n of them, and about maxCall bytes.
func head(list []*item, n int) []*item {
	bytes := 0
	for i, it := range list {
		bytes += it.size()
		if i == n || i > 0 && bytes > maxCall {
			return list[:i:i]
		}
	}
	return list[:len(list):len(list)]
}

// pop removes the oldest messages, which are done.
func (s *shard) pop(items []*item) {
	bytes := int64(0)
	s.mu.Lock()
	for _, it := range items {
		bytes += int64(it.size()) // a withdrawn one has become smaller
		it.finish()
		if it.counted {
			if s.keeping[it.Key]--; s.keeping[it.Key] == 0 {
				delete(s.keeping, it.Key)
			}
		}
	}
	clear(s.queue[:len(items)])
	s.queue = s.queue[len(items):]
	if len(s.queue) == 0 {
		s.queue = nil
		for _, w := range s.waiters {
			close(w)
		}
		s.waiters = nil
	}
	s.popped += int64(len(items))
	ready := s.arrived()
	s.mu.Unlock()
	s.b.release(int64(len(items)), bytes)
	s.b.let(ready...)
}

// emptied is closed as soon as nothing waits.
func (s *shard) emptied() <-chan struct{} {
	c := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		close(c)
	} else {
		s.waiters = append(s.waiters, c)
	}
	return c
}

// end is the last id of the stream; there is none where it does not exist.
func (s *shard) end(ctx context.Context) (end id, exists bool, err error) {
	info, err := call(ctx, s.b.cfg.Timeout, func(ctx context.Context) (*redis.XInfoStream, error) {
		return s.b.cfg.Client.XInfoStream(ctx, s.stream()).Result()
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
