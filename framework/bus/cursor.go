package bus

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Cursor is the position after everything that a sender has sent so far, as far as that may not
// have arrived yet. It has one text for each shard: "#NUMBER" while the sender itself has not
// received its last message, then for some seconds the id of that message's entry, else "".
type Cursor []string

// cursorTime is for how long a sent message counts as not arrived everywhere.
const cursorTime = 10 * time.Second

// cursor is the shard's part of a Cursor.
func (s *shard) cursor() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case time.Since(s.queue.last) > cursorTime:
		return ""
	case s.sender.direct() && s.queue.popped == s.queue.pushed:
		return ""
	case s.sender.direct():
		return "#" + strconv.FormatInt(s.queue.pushed, 10)
	case s.queue.next == 1:
		return ""
	}
	s.mark()
	own := s.progress.lanes[0].origins[s.sender.Token()]
	switch {
	case own == nil || own.number < s.queue.next-1:
		return "#" + strconv.FormatInt(s.queue.next-1, 10)
	case own.at == id{}: // the previous process has received it
		return ""
	}
	return own.at.String()
}

// mark sends an empty message that all nodes read, unless the newest message is one: a node that
// does not read that one could not tell when it has come. The caller holds mu.
func (s *shard) mark() {
	if s.queue.newest[0] == s.queue.next-1 || s.sender.closed.Load() {
		return
	}
	it := &item{}
	it.From = s.sender.Token()
	s.queue.number(it)
	s.queue.append(it)
	s.budget.add(int64(it.size()))
	s.nudge()
}

// reached reports whether everything before the cursor has been received here. The caller holds mu.
func (s *shard) reached(token, cursor string) bool {
	if text, ok := strings.CutPrefix(cursor, "#"); ok {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return true
		}
		if s.sender.direct() && token == s.sender.Token() {
			return s.queue.popped >= number
		}
		return s.progress.has(token, number)
	}
	at, err := parseID(cursor)
	return err != nil || !s.progress.position.less(at)
}

// arrived removes and returns the followers that wait for no further shard. The caller holds mu,
// and releases them when it no longer does.
func (s *shard) arrived() (ready []*follower) {
	if len(s.followers) == 0 {
		return nil
	}
	s.followers = slices.DeleteFunc(s.followers, func(w *follower) bool {
		if !s.reached(w.token, w.cursor[s.index]) {
			return false
		}
		if w.missing.Add(-1) == 0 {
			ready = append(ready, w)
		}
		return true
	})
	return ready
}

// follower is a function that is called once the messages before a cursor have been received.
type follower struct {
	f       func()
	token   string
	cursor  Cursor
	missing atomic.Int32 // shards that it waits for
	done    atomic.Bool
	timer   *time.Timer
}

// followers are the functions that wait for messages of any shard: those of each shard stand in
// shard.followers. It is safe for concurrent use; no function is called under a lock.
type followers struct {
	shards  []*shard
	sender  *sender
	limit   int64 // how many may wait
	waiting atomic.Int64
	log     *complaints
}

// after calls f as Bus.After says.
func (fs *followers) after(token string, c Cursor, limit time.Duration, f func()) {
	w := &follower{f: f, token: token, cursor: c}
	if c == nil || !fs.enlist(w, limit) {
		f()
	}
}

// enlist reports whether w has to wait.
func (fs *followers) enlist(w *follower, limit time.Duration) bool {
	for _, s := range fs.shards {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	if fs.sender.closed.Load() || fs.sender.detached.Load() || fs.waiting.Load() >= fs.limit {
		return false
	}
	for i, s := range fs.shards[:min(len(w.cursor), len(fs.shards))] {
		if !s.reached(w.token, w.cursor[i]) {
			s.followers = append(s.followers, w)
			w.missing.Add(1)
		}
	}
	if w.missing.Load() == 0 {
		return false
	}
	fs.waiting.Add(1)
	w.timer = time.AfterFunc(limit, func() { fs.expire(w) })
	return true
}

// expire ends a wait that took too long.
func (fs *followers) expire(w *follower) {
	for _, s := range fs.shards {
		s.mu.Lock()
		s.followers = slices.DeleteFunc(s.followers, func(o *follower) bool { return o == w })
		s.mu.Unlock()
	}
	fs.release(w)
}

// expireAll ends all waits.
func (fs *followers) expireAll() {
	for _, s := range fs.shards {
		s.mu.Lock()
		list := s.followers
		s.followers = nil
		s.mu.Unlock()
		fs.release(list...)
	}
}

// release calls functions that have waited, each once.
func (fs *followers) release(list ...*follower) {
	for _, w := range list {
		if w.done.Swap(true) {
			continue
		}
		w.timer.Stop()
		fs.waiting.Add(-1)
		func() {
			defer func() {
				if p := recover(); p != nil {
					fs.log.say("what follows messages between nodes panics", zap.Any("panic", p), zap.Stack("stack"))
				}
			}()
			w.f()
		}()
	}
}
