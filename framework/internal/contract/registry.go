package contract

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"
)

// maxFailures bounds the failures of a Registry: a program that makes them while it runs would add
// to it without end.
const maxFailures = 2000

// Registry collects what a program declares in package variables. The zero value is empty. It is
// safe for concurrent use.
type Registry struct {
	mu        sync.Mutex
	events    map[string]EventSource
	questions map[string]QuestionSource
	failures  map[Failure]bool
	wrong     []error
}

// Event adds an event. One name with two types is reported by Source.
func (r *Registry) Event(name string, param reflect.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events == nil {
		r.events = map[string]EventSource{}
	}
	if e, ok := r.events[name]; ok && e.Param != param {
		r.clash("event", name, e.Param, param)
	}
	r.events[name] = EventSource{name, param}
}

// Question adds a question, as Event does.
func (r *Registry) Question(name string, param, answer reflect.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.questions == nil {
		r.questions = map[string]QuestionSource{}
	}
	if q, ok := r.questions[name]; ok && (q.Param != param || q.Answer != answer) {
		r.clash("question", name, q.Answer, answer)
	}
	r.questions[name] = QuestionSource{name, param, answer}
}

// clash notes that a name has two types. mu is held.
func (r *Registry) clash(what, name string, a, b reflect.Type) {
	if len(r.wrong) < maxFailures {
		r.wrong = append(r.wrong, fmt.Errorf("the %s %q is declared twice, with %v and %v", what, name, a, b))
	}
}

// Failure adds a failure. Beyond some thousands it adds nothing.
func (r *Registry) Failure(f Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures == nil {
		r.failures = map[Failure]bool{}
	}
	if len(r.failures) < maxFailures {
		r.failures[f] = true
	}
}

// Source returns all that was declared, and what is wrong with it.
func (r *Registry) Source() (s Source, wrong []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		s.Events = append(s.Events, e)
	}
	for _, q := range r.questions {
		s.Questions = append(s.Questions, q)
	}
	for f := range r.failures {
		s.Errors = append(s.Errors, f)
	}
	slices.SortFunc(s.Errors, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(a.Event, b.Event), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Info, b.Info))
	})
	return s, slices.Clone(r.wrong)
}
