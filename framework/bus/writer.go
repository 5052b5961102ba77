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
	maxBatch = 256 // messages of one call, so that it does not occupy Redis for long

	doubtPause = 50 * time.Millisecond

	retryMin = 10 * time.Millisecond // the pauses, before jitter, while Redis does not answer
	retryMax = time.Second

	// fullTime is for how long a Redis without memory is given messages again; then they are lost.
	fullTime = 5 * time.Second
)

// writer brings the messages of one shard's queue to Redis, in order. Its fields belong to the
// goroutine that runs it, and to Suspend and Stop while none does.
type writer struct {
	s         *shard
	retention retention
	batch     int       // messages of the next call
	uncertain bool      // the reply to a call was lost: it may still be executed
	full      time.Time // since when Redis has no memory; zero = it has
}

// run writes what waits until stop. Calls that fail are repeated, with growing pauses.
func (w *writer) run(stop <-chan struct{}) {
	s := w.s
	pauses := backoff.Backoff{Min: retryMin, Max: retryMax}
	for {
		select {
		case <-stop:
			return
		default:
		}
		idle, err := w.step()
		if errors.Is(err, errDoubt) {
			select {
			case <-time.After(doubtPause):
			case <-stop:
				return
			}
			continue
		}
		if err != nil {
			w.uncertain = true
			w.batch = max(w.batch/2, 1)
			if !pauses.Failing() {
				s.cfg.Log.Warn("redis does not take the messages between nodes; they are kept and repeated", zap.String("shard", s.tag), zap.Error(err))
			}
			if !pauses.Wait(stop) {
				return
			}
			continue
		}
		if pauses.Reset() {
			s.cfg.Log.Info("redis takes the messages between nodes again", zap.String("shard", s.tag))
		}
		if !idle {
			continue
		}
		var settle <-chan time.Time
		if len(w.retention.items) > 0 {
			settle = time.After(retainTime)
		}
		select {
		case <-settle:
			s.doubtful.Store(true) // if Redis still has them, they are dropped
		case <-s.wake:
		case <-stop:
			return
		}
	}
}

// step does the next thing there is to do. idle means that there was nothing.
func (w *writer) step() (idle bool, err error) {
	s := w.s
	if items := head(w.retention.resend, w.batch); len(items) > 0 {
		done, err := w.send(items)
		if done && err == nil {
			w.retention.resend = w.retention.resend[len(items):]
		}
		return false, err
	}
	items := s.next(w.batch)
	if len(items) == 0 {
		if !s.doubtful.Load() {
			return true, nil
		}
		_, err := w.send(nil)
		return false, err
	}
	direct, numbered := s.sender.direct(), items
	if direct {
		numbered = nil
		for _, it := range items {
			if it.number > 0 {
				numbered = append(numbered, it)
			}
		}
	}
	if len(numbered) > 0 {
		if done, err := w.send(numbered); !done || err != nil {
			return false, err
		}
	}
	if direct {
		w.deliver(items)
	}
	for _, it := range items {
		if !it.refused {
			s.counts.sent.Add(1)
		}
	}
	s.pop(items)
	return false, nil
}

// deliver gives messages to the application without the stream.
func (w *writer) deliver(items []*item) {
	for _, it := range items {
		if !it.delivered && !it.refused {
			m := it.Message
			m.Keep, m.Age, m.Place = 0, 0, false // as from the stream
			it.delivered = true
			w.s.deliver(&m)
		}
	}
}

// send writes messages with numbers, without gaps. done is false where Redis has lost others, which
// are to be sent before them. Without messages it only finds out whether that is so.
func (w *writer) send(items []*item) (done bool, err error) {
	s := w.s
	doubtful := s.doubtful.Swap(false)
	begun := time.Now()
	reply, err := w.call(items)
	if err == nil && len(reply) == 1 && reply[0] == "DOUBT" {
		err = errDoubt
	}
	s.tried(items, err)
	if err != nil {
		if doubtful {
			s.doubtful.Store(true)
		}
		return w.failed(items, err)
	}
	w.full = time.Time{}
	w.batch = min(2*w.batch, maxBatch)
	switch {
	case len(reply) == 2 && reply[0] == "BACK":
		had, err := strconv.ParseInt(reply[1], 10, 64)
		if err != nil {
			return false, fmt.Errorf("the number that redis has: %w", err)
		}
		lost := w.retention.rewind(had)
		if again := len(w.retention.resend); again > 0 {
			s.cfg.Log.Warn("redis has lost messages between nodes; they are written again",
				zap.String("shard", s.tag), zap.Int64("lost", lost), zap.Int("again", again))
		}
		return false, nil
	case len(reply) != 4+len(items) || reply[0] != "OK":
		return false, fmt.Errorf("redis answers %d messages with %d texts", len(items), len(reply)-4)
	}
	if err := s.epoch.learn(reply[1], reply[2]); err != nil {
		return false, err
	}
	for i, it := range items {
		w.accepted(it, reply[4+i])
	}
	w.cut(reply[3])
	w.retention.expire(begun)
	if len(items) > 0 {
		w.retention.add(items, begun)
	}
	return true, nil
}

// cut removes old entries from the sub-streams, as the script has done with the stream.
func (w *writer) cut(before string) {
	if before == "" || w.s.cfg.lanes() == 0 {
		return
	}
	at, err := parseID(before)
	if err == nil {
		err = w.s.cut(at, w.s.all(w.s.cfg.lanes())[1:])
	}
	if err != nil { // the next time removes them, too
		w.s.cfg.Log.Debug("old messages between nodes cannot be removed", zap.String("shard", w.s.tag), zap.Error(err))
	}
}

// call executes the script that writes.
func (w *writer) call(items []*item) ([]string, error) {
	s, token := w.s, w.s.sender.Token()
	keys := make([]string, 4, 4+len(items))
	keys[0], keys[1], keys[2], keys[3] = s.written(token), s.entries(), s.ledger(), s.record()
	first, length := int64(0), s.cfg.StreamLength
	if len(items) > 0 {
		first = items[0].number
	}
	if s.sender.direct() {
		length = 0
	}
	streams := map[int]int{} // of each lane: its place in keys
	if s.cfg.lanes() > 0 {
		for _, it := range items {
			if streams[it.lane] == 0 {
				keys = append(keys, s.lane(it.lane))
				streams[it.lane] = len(keys)
			}
		}
	}
	args := make([]any, 0, 13+5*len(items))
	args = append(args, w.retention.known, first, len(items), length, rand.Text()[:10], s.cfg.StreamBytes, s.cfg.StreamAge.Milliseconds())
	args = append(append(args, s.epoch.arguments()...), len(keys)-4)
	for _, it := range items {
		h := appendHead(nil, token, it.number, it.before, it.lane, it.Kind)
		if !it.placed() {
			args = append(args, 0, streams[it.lane], h, it.Key, it.Body)
			continue
		}
		keep := it.Keep
		if it.Place {
			keep = -1
		}
		keys = append(keys, s.history(it.Key), s.offset(it.Key))
		args = append(args, keep, streams[it.lane], h, it.Key, it.Body, max(it.Age.Milliseconds(), 1), it.Offset)
	}
	return s.run(context.Background(), write, keys, args)
}

// failed decides whether a call is repeated. That is so unless Redis will never accept what it
// contains. Which of several messages that is, is found by sending fewer and fewer.
func (w *writer) failed(items []*item, err error) (done bool, _ error) {
	switch {
	case len(items) == 0:
		return false, err
	case cache.Full(err):
		if w.full.IsZero() {
			w.full = time.Now()
		}
		if time.Since(w.full) < fullTime {
			return false, err
		}
	case !cache.Final(err):
		return false, err
	case len(items) > 1:
		return false, err
	}
	for _, it := range items {
		w.refused(it, err.Error())
	}
	return true, nil
}

// refused counts a message as lost.
func (w *writer) refused(it *item, why string) {
	if it.delivered || it.refused {
		return // it was only to be written again
	}
	it.refused = true
	w.s.counts.lost.Add(1)
	w.s.log.say("redis refuses a message between nodes", zap.String("key", it.Key), zap.Uint8("kind", it.Kind), zap.String("error", why))
}

// accepted notes what Redis replied to a message.
func (w *writer) accepted(it *item, text string) {
	switch {
	case text == "" || text == "?":
	case text[0] == 'E':
		w.refused(it, text[1:])
	default:
		if o, e, at, _, ok := parseKept(text); ok && !it.delivered {
			it.Offset, it.Epoch, it.At = o, e, at
		}
	}
}
