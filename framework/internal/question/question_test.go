package question

import (
	"encoding/json"
	"errors"
	"testing"
)

func answered(t *testing.T, ch <-chan Answer) (a Answer, ok bool) {
	t.Helper()
	select {
	case a := <-ch:
		return a, true
	default:
		return a, false
	}
}

// A question is answered once, by its own connection.
func TestAnswer(t *testing.T) {
	var b Book
	n, ch, forget, err := b.Open(7)
	if err != nil || n < 1 || n >= 1<<53 || !b.Waits(7) || b.Waits(8) {
		t.Fatal(n, err)
	}
	b.Answer(Answer{FD: 7, Number: n + 1})
	b.Answer(Answer{FD: 8, Number: n, Param: json.RawMessage(`"foreign"`)})
	if _, ok := answered(t, ch); ok {
		t.Error("a foreign answer counts")
	}
	b.Answer(Answer{FD: 7, Number: n, Param: json.RawMessage(`1`)})
	b.Answer(Answer{FD: 7, Number: n, Param: json.RawMessage(`2`)})
	if a, ok := answered(t, ch); !ok || string(a.Param) != "1" {
		t.Error(a, ok)
	}
	if _, ok := answered(t, ch); ok || b.Waits(7) {
		t.Error("answered twice")
	}
	forget()
	forget()
	if len(b.counts) != 0 || len(b.open) != 0 {
		t.Error(b.counts, b.open)
	}
}

func TestBound(t *testing.T) {
	var b Book
	var forgets []func()
	for range MaxOpen {
		_, _, forget, err := b.Open(7)
		if err != nil {
			t.Fatal(err)
		}
		forgets = append(forgets, forget)
	}
	if _, _, _, err := b.Open(7); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	if _, _, _, err := b.Open(8); err != nil {
		t.Error(err)
	}
	forgets[3]()
	if _, _, _, err := b.Open(7); err != nil {
		t.Error(err)
	}
}

// Answers to questions of another worker are passed on, while there is one.
func TestForward(t *testing.T) {
	var old, next Book
	n, ch, _, _ := old.Open(7)
	next.Answer(Answer{FD: 7, Number: n}) // nobody is there
	passed := make(chan Answer)
	stop := next.Forward(func(a Answer) { passed <- a })
	if !next.Waits(7) {
		t.Error("the answers of moved connections do not matter")
	}
	next.Answer(Answer{FD: 7, Number: n, Error: "no"})
	old.Answer(<-passed)
	if a := <-ch; a.Error != "no" {
		t.Error(a)
	}
	stop()
	if next.Waits(7) {
		t.Error("still forwards")
	}
}
