package framework

import (
	"errors"
	"sync/atomic"
	"time"
)

// ActionBounds are the upper bounds of the duration classes of ActionStats. The last class has
// none.
var ActionBounds = [...]time.Duration{
	100 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// ActionStats are the requests of one action since this worker started.
type ActionStats struct {
	Method   string                       // module.controller.action, lower case
	Counts   [len(ActionBounds) + 1]int64 // of requests, by how long they took
	Duration time.Duration                // of all of them
	Failed   int64                        // of them, by an error that is no Fail, or by a panic
	Inline   bool                         // it runs in the event loop, see Inline
}

// meter counts one action's requests: two atomic additions each.
type meter struct {
	counts [len(ActionBounds) + 1]atomic.Int64
	nanos  atomic.Int64
	failed atomic.Int64
	pace   pace
}

func newMeter(pace string) *meter {
	m := new(meter)
	m.pace.declared(pace)
	return m
}

func (m *meter) add(took time.Duration, err error) {
	i := 0
	for i < len(ActionBounds) && took > ActionBounds[i] {
		i++
	}
	m.counts[i].Add(1)
	m.nanos.Add(int64(took))
	m.pace.add(took)
	if err == nil {
		return
	}
	var fail *Fail
	if !errors.As(err, &fail) {
		m.failed.Add(1)
	}
}

func (m *meter) stats(method string) ActionStats {
	s := ActionStats{Method: method, Duration: time.Duration(m.nanos.Load()), Failed: m.failed.Load(), Inline: m.pace.quick()}
	for i := range m.counts {
		s.Counts[i] = m.counts[i].Load()
	}
	return s
}
