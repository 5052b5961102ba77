package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
	"wsframe/library/cache"
)

const (
	maxBatch = 256       // messages of one call, so that Redis is not held up for long
	maxCall  = 256 << 10 // bytes of them, unless one alone is larger

	// What Redis took is remembered for that long: with appendfsync everysec it writes within 2 s.
	retainTime  = 3 * time.Second
	retainBytes = 4 << 20

	doubtPause = 50 * time.Millisecond

	retryMin = 10 * time.Millisecond // the pauses, before jitter, while Redis does not answer
	retryMax = time.Second

	// fullTime is how long a Redis without memory is waited for; then messages are lost.
	fullTime = 5 * time.Second
)

// direct tells whether messages are delivered without the stream.
func (b *Bus) direct() bool { return b.cfg.Alone && !b.passed.Load() }

// write writes what waits until stop. What Redis does not take is repeated, with growing pauses.
func (s *shard) write(stop <-chan struct{}) {
	pauses := backoff.Backoff{Min: retryMin, Max: retryMax}
	for {
		select {
		case <-stop:
			return
		default:
		}
		idle, err := s.step()
		if errors.Is(err, errDoubt) {
			select {
			case <-time.After(doubtPause):
			case <-stop:
				return
			}
			continue
		}
		if err != nil {
			s.late = true
			s.batch = max(s.batch/2, 1)
			if !pauses.Failing() {
				s.b.cfg.Log.Warn("redis does not take the messages between nodes; they are kept and repeated", zap.String("shard", s.tag), zap.Error(err))
			}
			if !pauses.Wait(stop) {
				return
			}
			continue
		}
		if pauses.Reset() {
			s.b.cfg.Log.Info("redis takes the messages between nodes again", zap.String("shard", s.tag))
		}
		if !idle {
			continue
		}
		var settle <-chan time.Time
		if len(s.retained) > 0 {
			settle = time.After(retainTime)
		}
		select {
		case <-settle:
			s.doubtful.Store(true) // if Redis still has them, they are forgotten
		case <-s.wake:
		case <-stop:
			return
		}
	}
}

// step does the next thing there is to do. idle = there was nothing.
func (s *shard) step() (idle bool, err error) {
	if items := head(s.resend, s.batch); len(items) > 0 {
		return false, s.rewrite(items)
	}
	items := s.trying(s.batch)
	if len(items) == 0 {
		if !s.doubtful.Load() {
			return true, nil
		}
		_, err := s.send(nil)
		return false, err
	}
	var numbered []*item
	if s.b.direct() {
		for _, it := range items {
			if it.number > 0 {
				numbered = append(numbered, it)
			}
		}
	} else {
		numbered = items
	}
	if len(numbered) > 0 {
		if done, err := s.send(numbered); !done || err != nil {
			return false, err
		}
	}
	if s.b.direct() {
		for _, it := range items {
			if !it.delivered && !it.refused {
				m := it.Message
				m.Keep, m.Age, m.Place = 0, 0, false // as from the stream
				it.delivered = true
				s.deliver(&m)
			}
		}
	}
	for _, it := range items {
		if !it.refused {
			s.b.sent.Add(1)
		}
	}
	s.pop(items)
	return false, nil
}

// rewrite sends again what Redis has lost.
func (s *shard) rewrite(items []*item) error {
	done, err := s.send(items)
	if done && err == nil {
		s.resend = s.resend[len(items):]
	}
	return err
}

// send writes messages with numbers, without gaps. They are done unless Redis has lost others, which are to be sent before
// them. Without messages it only asks for that.
func (s *shard) send(items []*item) (done bool, err error) {
	doubtful := s.doubtful.Swap(false)
	begun := time.Now()
	answer, err := s.ask(items)
	if err == nil && len(answer) == 1 && answer[0] == "DOUBT" {
		err = errDoubt
	}
	s.tried(items, err)
	if err != nil {
		if doubtful {
			s.doubtful.Store(true)
		}
		return s.failed(items, err)
	}
	s.full = time.Time{}
	s.batch = min(2*s.batch, maxBatch)
	switch {
	case len(answer) == 2 && answer[0] == "BACK":
		had, err := strconv.ParseInt(answer[1], 10, 64)
		if err != nil {
			return false, fmt.Errorf("the number that redis has: %w", err)
		}
		s.lag(had)
		return false, nil
	case len(answer) != 3+len(items) || answer[0] != "OK":
		return false, fmt.Errorf("redis answers %d messages with %d texts", len(items), len(answer)-3)
	}
	if err := s.told(answer[1], answer[2]); err != nil {
		return false, err
	}
	for i, it := range items {
		s.answered(it, answer[3+i])
	}
	s.forget(begun)
	if len(items) > 0 {
		s.known = items[len(items)-1].number
		s.retain(items, begun)
	}
	return true, nil
}

// ask makes the call.
func (s *shard) ask(items []*item) ([]string, error) {
	token := s.b.Token()
	keys := make([]string, 4, 4+len(items))
	keys[0], keys[1], keys[2], keys[3] = s.written(token), s.stream(), s.ledger(), s.record()
	first, stream := int64(0), s.b.cfg.StreamLength
	if len(items) > 0 {
		first = items[0].number
	}
	if s.b.direct() {
		stream = 0
	}
	args := make([]any, 0, 12+4*len(items))
	args = append(args, s.known, first, len(items), stream, rand.Text()[:10], s.b.cfg.StreamBytes, s.b.cfg.StreamAge.Milliseconds())
	args = append(args, s.arguments()...)
	for _, it := range items {
		h := appendHead(nil, token, it.number, it.Kind)
		if !it.placed() {
			args = append(args, 0, h, it.Key, it.Body)
			continue
		}
		keep := it.Keep
		if it.Place {
			keep = -1
		}
		keys = append(keys, s.history(it.Key), s.offset(it.Key))
		args = append(args, keep, h, it.Key, it.Body, max(it.Age.Milliseconds(), 1), it.Offset)
	}
	return call(context.Background(), s.b.cfg.Timeout, func(ctx context.Context) ([]string, error) {
		return write.Run(ctx, s.b.cfg.Client, keys, args...).StringSlice()
	})
}

// failed decides whether a call is repeated: it is unless Redis will never take what it contains. Which of several messages
// that is, is found by sending fewer and fewer.
func (s *shard) failed(items []*item, err error) (done bool, _ error) {
	switch {
	case len(items) == 0:
		return false, err
	case cache.Full(err):
		if s.full.IsZero() {
			s.full = time.Now()
		}
		if time.Since(s.full) < fullTime {
			return false, err
		}
	case !cache.Final(err):
		return false, err
	case len(items) > 1:
		return false, err
	}
	for _, it := range items {
		s.refused(it, err.Error())
	}
	return true, nil
}

func (s *shard) refused(it *item, why string) {
	if it.delivered || it.refused {
		return // it is only written again
	}
	it.refused = true
	s.b.lost.Add(1)
	s.b.complaints.say("redis refuses a message between nodes", zap.String("key", it.Key), zap.Uint8("kind", it.Kind), zap.String("error", why))
}

// answered notes what Redis made of a message.
func (s *shard) answered(it *item, text string) {
	switch {
	case text == "" || text == "?":
	case text[0] == 'E':
		s.refused(it, text[1:])
	default:
		if o, e, at, _, ok := parseKept(text); ok && !it.delivered {
			it.Offset, it.Epoch, it.At = o, e, at
		}
	}
}

// lag notes that Redis has lost messages of ours.
func (s *shard) lag(had int64) {
	s.resend = nil
	for i, it := range s.retained {
		if it.number > had {
			s.resend = append([]*item(nil), s.retained[i:]...)
			break
		}
	}
	if len(s.resend) > 0 {
		s.b.cfg.Log.Warn("redis has lost messages between nodes; they are written again",
			zap.String("shard", s.tag), zap.Int64("lost", s.known-had), zap.Int("again", len(s.resend)))
	}
	s.known = had
}

// retain remembers what Redis took.
func (s *shard) retain(items []*item, begun time.Time) {
	if len(s.resend) > 0 {
		return // they are remembered
	}
	for _, it := range items {
		it.taken = begun
		s.bytes += it.size()
	}
	s.retained = append(s.retained, items...)
	drop := 0
	for ; s.bytes > retainBytes; drop++ {
		s.bytes -= s.retained[drop].size()
	}
	s.discard(drop)
}

// forget drops what Redis still has after retainTime.
func (s *shard) forget(now time.Time) {
	if len(s.resend) > 0 {
		return
	}
	drop := 0
	for ; drop < len(s.retained) && now.Sub(s.retained[drop].taken) >= retainTime; drop++ {
		s.bytes -= s.retained[drop].size()
	}
	s.discard(drop)
}

func (s *shard) discard(n int) {
	clear(s.retained[:n])
	if s.retained = s.retained[n:]; len(s.retained) == 0 {
		s.retained = nil
	}
}
