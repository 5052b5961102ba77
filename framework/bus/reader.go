package bus

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
)

const (
	block = time.Second // of one XREAD; go-redis waits 10 s longer for the answer, or as long as the context says

	// Entries of one XREAD: as many as it takes, but not many when nobody knows how large they are.
	minRead, maxRead = 32, 512
	readBytes        = 4 << 20 // of entries like the last ones

	// lateTime is how long after a reload an alone Bus reads what the previous process still says.
	lateTime = 10 * time.Minute

	// backTime is how much is read again after Redis has lost data: an entry written since may have an id that is older than
	// the newest one read.
	backTime = 10 * time.Minute

	// senderTime is how long a silent sender is remembered, where there are very many.
	senderTime, maxSenders = 2 * time.Hour, 4096
)

// sender is how far another process's messages were read.
type sender struct {
	number int64
	at     id // its entry
	seen   time.Time
}

// read delivers the stream's messages until stop, or until then.
func (s *shard) read(stop <-chan struct{}, until time.Time) {
	var end <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		end = t.C
	}
	// Reading is left alone at stop: it may be blocked in Redis. What it has read is read again then.
	entries, quit := make(chan []redis.XMessage), make(chan struct{})
	defer close(quit)
	go s.fetch(s.position, s.floor, entries, quit)
	for {
		select {
		case list := <-entries:
			for i := range list {
				select {
				case <-stop:
					return
				default:
				}
				s.receive(&list[i])
			}
		case <-end:
			return
		case <-stop:
			return
		}
	}
}

// fetch reads the stream from a position on.
func (s *shard) fetch(position, floor id, entries chan<- []redis.XMessage, quit <-chan struct{}) {
	count, idle, quiet := minRead, 0, 0
	pauses := backoff.Backoff{Min: retryMin, Max: retryMax}
	shaken := false
	var looked time.Time
	for {
		select {
		case <-quit:
			return
		default:
		}
		var list []redis.XMessage
		err := error(nil)
		if shaken || idle >= 10 {
			position, err = s.behind(position, floor)
		}
		if err == nil && !s.b.cfg.Alone && (shaken || time.Since(looked) >= lookTime) {
			looked = time.Now()
			if err = s.enter(context.Background()); errors.Is(err, errDoubt) {
				err, looked = nil, time.Time{} // others are asked; nothing is kept meanwhile
			}
		}
		if err == nil {
			if shaken {
				s.doubtful.Store(true)
				s.nudge()
			}
			if idle >= 10 {
				idle = 0
			}
			shaken = false
			list, err = s.xread(position, count)
		}
		if err != nil {
			select {
			case <-quit: // of no interest any more: the client is closed, too
				return
			default:
			}
			if !pauses.Failing() {
				s.b.cfg.Log.Warn("messages between nodes cannot be read; tried again", zap.String("shard", s.tag), zap.Error(err))
			}
			shaken, count = true, max(count/2, 1) // large ones may take too long
			if !pauses.Wait(quit) {
				return
			}
			continue
		}
		if pauses.Reset() {
			s.b.cfg.Log.Info("messages between nodes are read again", zap.String("shard", s.tag))
		}
		count = nextRead(list)
		if idle++; len(list) == 0 {
			if quiet++; quiet == quietReads(s.b.cfg.StreamAge) {
				s.cut(position)
			}
			continue
		}
		idle, quiet = 0, 0
		if last, err := parseID(list[len(list)-1].ID); err == nil {
			position = last
		}
		select {
		case entries <- list:
		case <-quit:
			return
		}
	}
}

// nextRead is how many entries to ask for behind these. A reader that keeps up asks for few: should it fall behind, the first it
// gets may be large.
func nextRead(list []redis.XMessage) int {
	if len(list) == 0 {
		return minRead
	}
	n, bytes := min(max(2*len(list), minRead), maxRead), 1
	for i := range list {
		body, _ := list[i].Values["b"].(string)
		bytes += len(body)
	}
	return min(n, max(readBytes*len(list)/bytes, 1))
}

// quietReads is for how many empty reads nothing was written for that long.
func quietReads(age time.Duration) int { return int((age + block - 1) / block) }

// cut removes what nobody writes behind: all up to that id is old. Where Redis has no memory for more it helps, too.
func (s *shard) cut(position id) {
	_, err := call(context.Background(), s.b.cfg.Timeout, func(ctx context.Context) (int64, error) {
		return s.b.cfg.Client.XTrimMinID(ctx, s.stream(), id{position.ms, position.seq + 1}.String()).Result()
	})
	if err != nil {
		s.b.cfg.Log.Debug("old messages between nodes cannot be removed", zap.String("shard", s.tag), zap.Error(err))
	}
}

func (s *shard) xread(position id, count int) ([]redis.XMessage, error) {
	list, err := call(context.Background(), block+s.b.cfg.Timeout, func(ctx context.Context) ([]redis.XStream, error) {
		return s.b.cfg.Client.XRead(ctx, &redis.XReadArgs{Streams: []string{s.stream(), position.String()}, Count: int64(count), Block: block}).Result()
	})
	if errors.Is(err, redis.Nil) || err == nil && len(list) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return list[0].Messages, nil
}

// behind finds where to read on. Where the stream has never been where we are, it has lost data: the numbers of the messages
// tell then which are new.
func (s *shard) behind(position, floor id) (id, error) {
	end, exists, err := s.end(context.Background())
	if err != nil || exists && !end.less(position) || !exists && position == floor {
		return position, err
	}
	back := floor
	if ms := uint64(backTime.Milliseconds()); end.ms > ms && floor.less(id{end.ms - ms, 0}) {
		back = id{end.ms - ms, 0}
	}
	s.b.cfg.Log.Warn("redis has lost messages between nodes; some are read again", zap.String("shard", s.tag),
		zap.Stringer("read", position), zap.Stringer("newest", end), zap.Stringer("again from", back))
	return back, nil
}

// receive delivers an entry, unless it was delivered before.
func (s *shard) receive(e *redis.XMessage) {
	at, err := parseID(e.ID)
	if err != nil {
		at = s.position
	}
	m := Message{}
	head, _ := e.Values["h"].(string)
	m.Key, _ = e.Values["k"].(string)
	body, _ := e.Values["b"].(string)
	m.Body = []byte(body)
	number, err := parseHead(head, &m)
	if err != nil {
		s.b.complaints.say("an entry between nodes is not one of ours", zap.String("shard", s.tag), zap.String("id", e.ID), zap.Error(err))
		s.received(at, nil, 0)
		return
	}
	from := s.senders[m.From]
	switch {
	case from == nil:
	case number <= from.number:
		s.received(at, nil, 0)
		return
	case number > from.number+1:
		s.b.lost.Add(number - from.number - 1)
		s.b.complaints.say("messages between nodes were gone before they were read", zap.String("shard", s.tag),
			zap.String("from", m.From), zap.Int64("lost", number-from.number-1))
		s.missed()
	}
	if m.count > 0 {
		s.came(m.Epoch, m.count)
	}
	if s.begin(m.From, number) {
		s.deliver(&m)
	}
	s.received(at, &m, number)
}

// received notes how far the stream was read, and lets go who waited for that.
func (s *shard) received(at id, m *Message, number int64) {
	s.mu.Lock()
	s.position = at
	if m != nil {
		from := s.senders[m.From]
		if from == nil {
			s.tidy()
			from = &sender{}
			s.senders[m.From] = from
		}
		from.number, from.at, from.seen = number, at, time.Now()
	}
	ready := s.arrived()
	s.mu.Unlock()
	s.b.let(ready...)
}

// missed tells the application that messages of this shard are gone.
func (s *shard) missed() {
	if s.b.cfg.Lost == nil {
		return
	}
	s.receiving.Lock()
	defer s.receiving.Unlock()
	s.b.guard(func() { s.b.cfg.Lost(func(key string) bool { return s.b.shard(key) == s }) })
}

func (s *shard) tidy() {
	if len(s.senders) < maxSenders {
		return
	}
	for token, from := range s.senders {
		if time.Since(from.seen) > senderTime {
			delete(s.senders, token)
		}
	}
}

func (s *shard) deliver(m *Message) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	s.b.deliver(m)
}
