// Package question keeps the questions that actions have put to clients until their answers come.
//
// Package framework opens a question, sends its number to the client, and waits. Whatever receives
// an answer gives it to the Book. During a reload the answers to questions of the old worker arrive
// at the new one, which passes on those that it does not know (Forward; package reload).
//
// Numbers are random, so that those of two workers differ, and no client knows another's. A Book is
// safe for concurrent use.
package question

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
)

// MaxOpen is the number of questions that may be open on one connection.
const MaxOpen = 16

// ErrTooMany is returned for one more question than a connection may have open.
var ErrTooMany = errors.New("too many questions to this client are open")

// Answer is what a client answers. It travels between workers.
type Answer struct {
	FD     int64           `json:"fd"`
	Number int64           `json:"ask"`
	Param  json.RawMessage `json:"param,omitempty"`
	Error  string          `json:"error,omitempty"` // why the client does not answer; "" = Param is the answer
}

type open struct {
	fd     int64
	answer chan Answer // has room for one
}

// Book has the open questions of a worker. The zero value has none.
type Book struct {
	mu      sync.Mutex
	open    map[int64]open
	counts  map[int64]int // by connection
	forward func(Answer)  // passes on answers to unknown questions; nil = no previous worker asks
}

// Open begins a question to a connection. At most one answer comes. forget ends the question.
func (b *Book) Open(fd int64) (number int64, answer <-chan Answer, forget func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts[fd] >= MaxOpen {
		return 0, nil, nil, ErrTooMany
	}
	if b.open == nil {
		b.open, b.counts = map[int64]open{}, map[int64]int{}
	}
	for number == 0 || b.open[number].answer != nil {
		number = rand.Int64N(1<<53-1) + 1 // JavaScript's numbers are exact up to there
	}
	ch := make(chan Answer, 1)
	b.open[number] = open{fd, ch}
	b.counts[fd]++
	return number, ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.end(number)
	}, nil
}

// end removes a question, if it is open. mu is held.
func (b *Book) end(number int64) {
	o, ok := b.open[number]
	if !ok {
		return
	}
	delete(b.open, number)
	if b.counts[o.fd]--; b.counts[o.fd] == 0 {
		delete(b.counts, o.fd)
	}
}

// Waits reports whether an answer of a connection may matter, here or in the previous worker.
func (b *Book) Waits(fd int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[fd] > 0 || b.forward != nil
}

// Answer ends the question with that number and wakes who waits. It never waits itself. An answer
// to no open question of that connection is passed on, or ignored.
func (b *Book) Answer(a Answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.open[a.Number]; ok {
		if o.fd == a.FD { // else another client has guessed the number
			b.end(a.Number)
			o.answer <- a
		}
		return
	}
	if f := b.forward; f != nil {
		go f(a)
	}
}

// Forward has f called, in a goroutine of its own, for each answer to an unknown question, until
// stop is called.
func (b *Book) Forward(f func(Answer)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forward = f
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.forward = nil
	}
}
