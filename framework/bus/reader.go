package bus

import (
	"time"

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
	batches, quit := make(chan batch), make(chan struct{})
	defer close(quit)
	go newFetcher(s).run(batches, quit)
	for {
		select {
		case b := <-batches:
			for i := range b.entries {
				select {
				case <-stop:
					return
				default:
				}
				s.accept(&b.entries[i])
			}
			s.passed(b.end)
		case <-end:
			return
		case <-stop:
			return
		}
	}
}

// accept delivers an entry, unless it was delivered before.
func (s *shard) accept(e *entry) {
	m := Message{}
	head, _ := e.Values["h"].(string)
	m.Key, _ = e.Values["k"].(string)
	body, _ := e.Values["b"].(string)
	m.Body = []byte(body)
	number, before, at, err := parseHead(head, &m)
	if err != nil {
		s.log.say("an entry between nodes is not one of ours", zap.String("shard", s.tag), zap.String("id", e.ID), zap.Error(err))
		s.passed(e.at)
		return
	}
	if m.Room = at > 0; at >= len(s.progress.lanes) {
		at = 0 // of a time with other lanes
	}
	isNew, lost := s.examine(e.at, at, m.From, number, before)
	if !isNew {
		s.passed(e.at)
		return
	}
	if lost > 0 {
		s.counts.lost.Add(lost)
		s.log.say("messages between nodes were gone before they were read", zap.String("shard", s.tag),
			zap.String("from", m.From), zap.Int64("lost", lost))
		s.missed(at)
	}
	if m.count > 0 {
		s.epoch.received(&m)
	}
	if s.begin(m.From, number) {
		s.deliver(&m)
	}
	s.accepted(e.at, at, m.From, number)
}

// examine reports whether a message of a lane is new, and how many of its sender are missing before
// it. With several lanes that is an upper bound: numbers of other lanes lie between.
func (s *shard) examine(at id, lane int, token string, number, before int64) (isNew bool, lost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.progress.lanes[lane]
	from := l.origins[token]
	switch {
	case !l.read || !l.since.less(at):
		return false, 0
	case from == nil:
		return true, 0
	}
	return number > from.number, max(0, before-from.number)
}

// begin reports whether a message that was read is to be delivered here.
func (s *shard) begin(from string, number int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return from != s.sender.Token() || s.bypass.begin(number)
}

// accepted notes a message of a lane that was read, and releases followers that waited for it.
func (s *shard) accepted(at id, lane int, from string, number int64) {
	s.mu.Lock()
	s.progress.position = at
	s.progress.lanes[lane].note(at, from, number)
	ready := s.arrived()
	s.mu.Unlock()
	s.waits.release(ready...)
}

// passed notes that everything up to a position was read, without a further message.
func (s *shard) passed(at id) {
	if at == s.progress.position {
		return
	}
	s.mu.Lock()
	s.progress.position = at
	ready := s.arrived()
	s.mu.Unlock()
	s.waits.release(ready...)
}

// missed notifies the application that messages of a lane are gone.
func (s *shard) missed(lane int) {
	lanes := s.cfg.lanes()
	if lanes > 0 && lane == 0 {
		return // none of them was to a room
	}
	s.receiving.Lock()
	defer s.receiving.Unlock()
	s.receiver.lost(func(key string) bool {
		return shardOf(key, s.cfg.Shards) == s.index && (lanes == 0 || laneOf(key, s.cfg.Shards, lanes) == lane)
	})
}
