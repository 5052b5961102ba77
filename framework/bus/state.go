package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// stateVersion is of the form below. A process reads its own and the one before.
const stateVersion = 1

type state struct {
	Version int          `json:"version"`
	Token   string       `json:"token"`
	Alone   bool         `json:"alone"`
	Shards  []shardState `json:"shards"`
}

type shardState struct {
	Next     int64            `json:"next"`     // number of the next message
	Known    int64            `json:"known"`    // number that Redis has
	Late     bool             `json:"late"`     // a call's answer was lost
	Position string           `json:"position"` // in the stream
	Floor    string           `json:"floor"`    // before it nothing is ever read
	Senders  map[string]int64 `json:"senders"`  // how far each was read
	Epoch    string           `json:"epoch,omitempty"`
	Count    int64            `json:"count,omitempty"` // that the shard has at least, in that epoch
	Aside    []int64          `json:"aside,omitempty"`
	Waiting  []waiting        `json:"waiting"`
}

type waiting struct {
	Number int64  `json:"number"`
	Kind   byte   `json:"kind"`
	Key    string `json:"key"`
	Body   []byte `json:"body"`
	Keep   int    `json:"keep,omitempty"`
	AgeMS  int64  `json:"age,omitempty"`
	Place  bool   `json:"place,omitempty"`
}

// Suspend stops writing and reading for a reload: within about Timeout if no Receive takes longer, none runs any more. The
// result is for the next process's Config.State. Resume or Handed must follow; messages sent before that wait for them. After an error
// everything goes on.
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
	st := state{Version: stateVersion, Token: b.Token(), Alone: b.cfg.Alone}
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
	st := shardState{Next: s.next, Known: s.known, Late: s.late, Position: s.position.String(), Floor: s.floor.String(), Senders: map[string]int64{},
		Epoch: s.knows.epoch, Count: s.knows.count}
	for token, from := range s.senders {
		st.Senders[token] = from.number
	}
	for number := range s.aside {
		st.Aside = append(st.Aside, number)
	}
	for _, it := range s.queue {
		st.Waiting = append(st.Waiting, waiting{it.number, it.Kind, it.Key, it.Body, it.Keep, it.Age.Milliseconds(), it.Place})
	}
	s.stated = len(s.queue)
	return st
}

// Resume goes on after a reload that failed.
func (b *Bus) Resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == suspended {
		b.phase = running
		b.begin(true)
	}
}

// Handed tells that another process goes on with the state: this one has nothing of it any more. From now on it is another
// sender, which only writes, until Stop.
func (b *Bus) Handed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != suspended {
		return
	}
	for _, s := range b.shards {
		s.mu.Lock()
	}
	token := rand.Text()
	b.token.Store(&token)
	b.passed.Store(true)
	for _, s := range b.shards {
		s.rename(token)
		s.mu.Unlock()
	}
	b.phase = handed
	b.begin(false)
	b.dismissAll()
}

// rename makes another sender of the shard, with what is not in the state. The caller holds mu.
func (s *shard) rename(token string) {
	messages, bytes := int64(s.stated), int64(0)
	for _, it := range s.queue[:s.stated] {
		bytes += int64(it.size())
	}
	s.b.release(messages, bytes)
	s.queue, s.keeping = append([]*item(nil), s.queue[s.stated:]...), nil
	s.stated, s.next, s.known, s.late = 0, 1, 0, false
	s.aside, s.delivering = nil, 0
	s.retained, s.resend, s.bytes = nil, nil, 0
	for _, it := range s.queue {
		it.From, it.number, it.counted = token, s.next, false
		s.next++
	}
}

// adopt takes another process's state.
func (b *Bus) adopt(text []byte) error {
	var st state
	if err := json.Unmarshal(text, &st); err != nil {
		return fmt.Errorf("read the state of the previous process's bus: %w", err)
	}
	if st.Version < stateVersion-1 || st.Version > stateVersion || st.Version < 1 {
		return fmt.Errorf("the state of the previous process's bus has version %d, not %d", st.Version, stateVersion)
	}
	if len(st.Shards) != len(b.shards) || st.Token == "" {
		return fmt.Errorf("the previous process's bus has %d shards, this one %d", len(st.Shards), len(b.shards))
	}
	same := st.Alone == b.cfg.Alone // else it is another store, where nobody knows that sender
	if same {
		b.token.Store(&st.Token)
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
		s.next, s.known, s.late = st.Next, st.Known, st.Late
		s.knows = knowledge{st.Epoch, st.Count}
		s.aside = map[int64]bool{}
		for _, number := range st.Aside {
			s.aside[number] = true
		}
		if s.position, err = parseID(st.Position); err == nil {
			s.floor, err = parseID(st.Floor)
		}
		if err != nil {
			return fmt.Errorf("read the state of the previous process's bus: %w", err)
		}
		for token, number := range st.Senders {
			s.senders[token] = &sender{number: number, seen: time.Now()}
		}
	}
	for _, w := range st.Waiting {
		it := &item{number: w.Number}
		it.Message = Message{Kind: w.Kind, Key: w.Key, Body: w.Body, From: s.b.Token(), Keep: w.Keep, Age: time.Duration(w.AgeMS) * time.Millisecond, Place: w.Place}
		if !same {
			it.number = 0
			if !s.b.direct() || it.placed() {
				it.number = s.next
				s.next++
			}
		}
		s.b.pending.Add(1)
		s.b.bytes.Add(int64(it.size()))
		s.enqueue(it)
	}
	s.last = time.Now() // what the previous process had sent may be on its way
	return nil
}
