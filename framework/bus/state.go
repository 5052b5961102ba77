package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// stateVersion is the version of a state. A process reads no other.
const stateVersion = 1

type state struct {
	Version int          `json:"version"`
	Token   string       `json:"token"`
	Alone   bool         `json:"alone"`
	Lanes   int          `json:"lanes,omitempty"` // of each shard
	Shards  []shardState `json:"shards"`
}

// laneState is how far one lane was read: its begin, and the newest message of each sender.
type laneState struct {
	Since   string           `json:"since"`
	Senders map[string]int64 `json:"senders"`
}

type shardState struct {
	Next     int64             `json:"next"`             // number of the next message
	Known    int64             `json:"known"`            // number that Redis has
	Late     bool              `json:"late"`             // the reply to a call was lost
	Position string            `json:"position"`         // in the stream
	Floor    string            `json:"floor"`            // before it nothing is ever read
	Senders  map[string]int64  `json:"senders"`          // the newest message that was read of each, of those for all nodes
	Lanes    map[int]laneState `json:"lanes,omitempty"`  // those that are read
	Newest   []int64           `json:"newest,omitempty"` // the newest number of each lane
	Epoch    string            `json:"epoch,omitempty"`
	Count    int64             `json:"count,omitempty"` // of kept messages, in that epoch
	Aside    []int64           `json:"aside,omitempty"`
	Waiting  []waiting         `json:"waiting"`
}

type waiting struct {
	Number int64  `json:"number"`
	Before int64  `json:"before,omitempty"`
	Room   bool   `json:"room,omitempty"`
	Kind   byte   `json:"kind"`
	Key    string `json:"key"`
	Body   []byte `json:"body"`
	Keep   int    `json:"keep,omitempty"`
	AgeMS  int64  `json:"age,omitempty"`
	Place  bool   `json:"place,omitempty"`
}

// Suspend stops writing and reading for a reload: within about Config.Timeout if no Receive takes
// longer, none runs any more. The result is the next process's Config.State. Resume or Detach must
// follow; messages sent before that wait for them. After an error everything continues.
func (b *Bus) Suspend(ctx context.Context) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != running {
		return nil, errors.New("bus: Suspend of one that does not run")
	}
	if err := b.end(ctx); err != nil {
		b.begin(true)
		return nil, err
	}
	b.phase = suspended
	st := state{Version: stateVersion, Token: b.Token(), Alone: b.cfg.Alone, Lanes: b.cfg.lanes()}
	for _, s := range b.shards {
		st.Shards = append(st.Shards, s.state())
	}
	text, err := json.Marshal(st)
	if err != nil { // there is nothing in it that could
		b.phase = running
		b.begin(true)
		return nil, fmt.Errorf("write the state of the bus: %w", err)
	}
	return text, nil
}

func (s *shard) state() shardState {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := shardState{
		Next: s.queue.next, Known: s.writer.retention.known, Late: s.writer.uncertain,
		Position: s.progress.position.String(), Floor: s.progress.floor.String(), Senders: map[string]int64{},
	}
	st.Epoch, st.Count = s.epoch.known()
	for token, from := range s.progress.lanes[0].origins {
		st.Senders[token] = from.number
	}
	for i := 1; i < len(s.progress.lanes); i++ {
		if l := &s.progress.lanes[i]; l.read {
			if st.Lanes == nil {
				st.Lanes = map[int]laneState{}
			}
			st.Lanes[i] = l.state()
		}
	}
	st.Newest = slices.Clone(s.queue.newest)
	for number := range s.bypass.numbers {
		st.Aside = append(st.Aside, number)
	}
	for _, it := range s.queue.items {
		st.Waiting = append(st.Waiting, waiting{it.number, it.before, it.Room, it.Kind, it.Key, it.Body, it.Keep, it.Age.Milliseconds(), it.Place})
	}
	s.queue.stated = len(s.queue.items)
	return st
}

func (l *lane) state() laneState {
	st := laneState{Since: l.since.String(), Senders: map[string]int64{}}
	for token, from := range l.origins {
		st.Senders[token] = from.number
	}
	return st
}

func (l *lane) adopt(senders map[string]int64) {
	for token, number := range senders {
		l.origins[token] = &origin{number: number, seen: time.Now()}
	}
}

// Resume continues after a reload that failed.
func (b *Bus) Resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == suspended {
		b.phase = running
		b.begin(true)
	}
}

// Detach gives up the state that Suspend returned: another process continues with it. From now on
// this Bus is another sender, which only writes, until Stop.
func (b *Bus) Detach() {
	if b.detach() {
		b.followers.expireAll() // without mu: the functions belong to others
	}
}

// detach is Detach without the followers. It reports whether the Bus was suspended.
func (b *Bus) detach() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != suspended {
		return false
	}
	for _, s := range b.shards {
		s.mu.Lock()
	}
	b.sender.detach(rand.Text())
	for _, s := range b.shards {
		s.detach()
		s.mu.Unlock()
	}
	b.phase = detached
	b.begin(false)
	return true
}

// detach begins anew with the messages that are not in the state. The caller holds mu.
func (s *shard) detach() {
	messages, bytes := s.queue.detach()
	s.budget.release(messages, bytes)
	s.bypass = bypass{}
	s.writer.retention, s.writer.uncertain = retention{}, false
}

// adopt takes another process's state.
func (b *Bus) adopt(text []byte) error {
	var st state
	if err := json.Unmarshal(text, &st); err != nil {
		return fmt.Errorf("read the state of the previous process's bus: %w", err)
	}
	if st.Version != stateVersion {
		return fmt.Errorf("the state of the previous process's bus has version %d, not %d", st.Version, stateVersion)
	}
	if len(st.Shards) != len(b.shards) || st.Token == "" {
		return fmt.Errorf("the previous process's bus has %d shards, this one %d", len(st.Shards), len(b.shards))
	}
	same := st.Alone == b.cfg.Alone // else it is another store, where nobody knows that sender
	if same {
		b.sender.token.Store(&st.Token)
	}
	if same && st.Lanes != b.cfg.lanes() {
		return fmt.Errorf("the previous process's bus has %d sub-streams in each shard, this one %d", st.Lanes, b.cfg.lanes())
	}
	for i := range st.Shards {
		if err := b.shards[i].adopt(&st.Shards[i], same); err != nil {
			return err
		}
	}
	return nil
}

func (s *shard) adopt(st *shardState, same bool) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if same {
		if s.progress.position, err = parseID(st.Position); err == nil {
			s.progress.floor, err = parseID(st.Floor)
		}
		if err != nil {
			return fmt.Errorf("read the state of the previous process's bus: %w", err)
		}
		s.queue.next = st.Next
		if copy(s.queue.newest, st.Newest) == 0 {
			s.queue.newest[0] = st.Next - 1
		}
		for i, l := range st.Lanes {
			since, err := parseID(l.Since)
			if err != nil || i < 1 || i >= len(s.progress.lanes) {
				return fmt.Errorf("read the state of the previous process's bus: lane %d: %w", i, err)
			}
			s.progress.begin(i, since)
			s.progress.lanes[i].adopt(l.Senders)
		}
		s.writer.retention.known, s.writer.uncertain = st.Known, st.Late
		s.epoch.adopt(st.Epoch, st.Count)
		for _, number := range st.Aside {
			s.bypass.add(number)
		}
		s.progress.lanes[0].adopt(st.Senders)
	}
	for _, w := range st.Waiting {
		it := &item{number: w.Number, before: w.Before}
		if lanes := s.cfg.lanes(); w.Room && lanes > 0 {
			it.lane = laneOf(w.Key, s.cfg.Shards, lanes)
		}
		it.Message = Message{Kind: w.Kind, Room: w.Room, Key: w.Key, Body: w.Body, From: s.sender.Token(), Keep: w.Keep, Age: time.Duration(w.AgeMS) * time.Millisecond, Place: w.Place}
		if !same {
			it.number = 0
			s.queue.number(it)
		}
		s.budget.add(int64(it.size()))
		s.queue.append(it)
	}
	s.queue.last = time.Now() // what the previous process had sent may not have arrived
	return nil
}
