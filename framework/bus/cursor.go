package bus

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Cursor is what a sender has sent so far, where that may still be on its way. Of each shard it has "#NUMBER" while the sender itself
// has not received the last of it, then for a while the id of that one's entry, else "".
type Cursor []string

// markTime is for how long something is thought to be on its way. Whatever Redis has not passed on by then, nothing waits for.
const markTime = 10 * time.Second

// Cursor is the place behind everything that was sent here before; nil where nothing is on its way.
func (b *Bus) Cursor() (m Cursor) {
	for i, s := range b.shards {
		if text := s.mark(); text != "" {
			if m == nil {
				m = make(Cursor, len(b.shards))
			}
			m[i] = text
		}
	}
	return m
}

func (s *shard) mark() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.senders[s.b.Token()]
	switch {
	case time.Since(s.last) > markTime:
		return ""
	case s.b.direct() && s.popped == s.pushed:
		return ""
	case s.b.direct():
		return "#" + strconv.FormatInt(s.pushed, 10)
	case s.next == 1:
		return ""
	case own == nil || own.number < s.next-1:
		return "#" + strconv.FormatInt(s.next-1, 10)
	case own.at == id{}: // the previous process has received it
		return ""
	}
	return own.at.String()
}

// reached tells whether everything before the mark has been received here. The caller holds mu.
func (s *shard) reached(token, mark string) bool {
	if text, ok := strings.CutPrefix(mark, "#"); ok {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return true
		}
		if s.b.direct() && token == s.b.Token() {
			return s.popped >= number
		}
		from := s.senders[token]
		return from != nil && from.number >= number
	}
	at, err := parseID(mark)
	return err != nil || !s.position.less(at)
}

// follower is what waits for messages to be received.
type follower struct {
	f     func()
	token string
	marks Cursor
	left  atomic.Int32 // shards that it waits for
	done  atomic.Bool
	timer *time.Timer
}

// After calls f when everything has been received here that the sender had sent before its mark, or has not been for as long as
// limit: at once where nothing is on its way, else in the goroutine that receives the last of it, which f must not hold up. So it does
// where very much waits already, when the bus stops, and in a process that has handed it over, which receives nothing.
func (b *Bus) After(token string, m Cursor, limit time.Duration, f func()) {
	w := &follower{f: f, token: token, marks: m}
	if m == nil || !b.enlist(w, limit) {
		f()
	}
}

// enlist tells whether w has to wait.
func (b *Bus) enlist(w *follower, limit time.Duration) bool {
	for _, s := range b.shards {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	if b.closed.Load() || b.passed.Load() || b.following.Load() >= int64(b.cfg.PendingMessages) {
		return false
	}
	for i, s := range b.shards[:min(len(w.marks), len(b.shards))] {
		if !s.reached(w.token, w.marks[i]) {
			s.followers = append(s.followers, w)
			w.left.Add(1)
		}
	}
	if w.left.Load() == 0 {
		return false
	}
	b.following.Add(1)
	w.timer = time.AfterFunc(limit, func() { b.dismiss(w) })
	return true
}

// dismiss ends a wait that was too long.
func (b *Bus) dismiss(w *follower) {
	for _, s := range b.shards {
		s.mu.Lock()
		s.followers = slices.DeleteFunc(s.followers, func(o *follower) bool { return o == w })
		s.mu.Unlock()
	}
	b.let(w)
}

// dismissAll ends all waits.
func (b *Bus) dismissAll() {
	for _, s := range b.shards {
		s.mu.Lock()
		list := s.followers
		s.followers = nil
		s.mu.Unlock()
		b.let(list...)
	}
}

// arrived are the followers that wait for nothing more. The caller holds mu, and lets them go when it no longer does.
func (s *shard) arrived() (ready []*follower) {
	if len(s.followers) == 0 {
		return nil
	}
	i := slices.Index(s.b.shards, s)
	s.followers = slices.DeleteFunc(s.followers, func(w *follower) bool {
		if !s.reached(w.token, w.marks[i]) {
			return false
		}
		if w.left.Add(-1) == 0 {
			ready = append(ready, w)
		}
		return true
	})
	return ready
}

// let calls what has waited, each once.
func (b *Bus) let(list ...*follower) {
	for _, w := range list {
		if w.done.Swap(true) {
			continue
		}
		w.timer.Stop()
		b.following.Add(-1)
		func() {
			defer func() {
				if p := recover(); p != nil {
					b.complaints.say("what follows messages between nodes panics", zap.Any("panic", p), zap.Stack("stack"))
				}
			}()
			w.f()
		}()
	}
}
