package bus

import (
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// receive delivers the stream's messages until stop is closed, or until that time; zero = no end.
func (s *shard) receive(stop <-chan struct{}, until time.Time) {
	var end <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		end = t.C
	}
	// The fetcher is not waited for at stop: it may be blocked in Redis. What it has read then is
	// read again.
	entries, quit := make(chan []redis.XMessage), make(chan struct{})
	defer close(quit)
	go newFetcher(s).run(entries, quit)
	for {
		select {
		case list := <-entries:
			for i := range list {
				select {
				case <-stop:
					return
				default:
				}
				s.accept(&list[i])
			}
		case <-end:
			return
		case <-stop:
			return
		}
	}
}

// accept delivers an entry, unless it was delivered before.
func (s *shard) accept(e *redis.XMessage) {
	at, err := parseID(e.ID)
	if err != nil {
		at = s.progress.position
	}
	m := Message{}
	head, _ := e.Values["h"].(string)
	m.Key, _ = e.Values["k"].(string)
	body, _ := e.Values["b"].(string)
	m.Body = []byte(body)
	number, err := parseHead(head, &m)
	if err != nil {
		s.log.say("an entry between nodes is not one of ours", zap.String("shard", s.tag), zap.String("id", e.ID), zap.Error(err))
		s.accepted(at, nil, 0)
		return
	}
	from := s.progress.origins[m.From]
	switch {
	case from == nil:
	case number <= from.number:
		s.accepted(at, nil, 0)
		return
	case number > from.number+1:
		lost := number - from.number - 1
		s.counts.lost.Add(lost)
		s.log.say("messages between nodes were gone before they were read", zap.String("shard", s.tag),
			zap.String("from", m.From), zap.Int64("lost", lost))
		s.missed()
	}
	if m.count > 0 {
		s.epoch.received(&m)
	}
	if s.begin(m.From, number) {
		s.deliver(&m)
	}
	s.accepted(at, &m, number)
}

// begin reports whether a message that was read is to be delivered here.
func (s *shard) begin(from string, number int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return from != s.sender.Token() || s.bypass.begin(number)
}

// accepted notes how far the stream was read, and releases followers that waited for that. m is nil
// for an entry that was not delivered.
func (s *shard) accepted(at id, m *Message, number int64) {
	s.mu.Lock()
	if m == nil {
		s.progress.position = at
	} else {
		s.progress.note(at, m.From, number)
	}
	ready := s.arrived()
	s.mu.Unlock()
	s.waits.release(ready...)
}

// missed notifies the application that messages of this shard are gone.
func (s *shard) missed() {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	s.receiver.lost(func(key string) bool { return shardOf(key, s.cfg.Shards) == s.index })
}
