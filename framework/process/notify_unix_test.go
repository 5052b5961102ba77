//go:build unix

package process

import (
	"context"
	"slices"
	"sync"
	"testing"
)

// states collects the calls of Notify.
type states struct {
	mu   sync.Mutex
	list []State
}

func (s *states) add(state State) {
	s.mu.Lock()
	s.list = append(s.list, state)
	s.mu.Unlock()
}

func (s *states) are(want ...State) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Equal(s.list, want)
}

// Each request to reload is announced with an end, even if it is refused. A stop is announced
// before it is done.
func TestNotify(t *testing.T) {
	var told states
	var reloaded int
	s := start(t, "", func(cfg *MasterConfig) { cfg.Notify, cfg.Reloaded = told.add, func() { reloaded++ } })
	until(t, "it serves", func() bool { return told.are(Serving) })
	ctx := t.Context()
	if _, err := s.m.Reload(ctx, true); err != nil || !told.are(Serving) || reloaded != 0 {
		t.Fatalf("check: %v %v", err, told.list)
	}
	want := []State{Serving, Reloading, Serving}
	if _, err := s.m.Reload(ctx, false); err != nil || !told.are(want...) || reloaded != 1 {
		t.Fatalf("reload: %v %v", err, told.list)
	}
	s.write("exit")
	want = append(want, Reloading, Serving)
	if _, err := s.m.Reload(ctx, false); err == nil || !told.are(want...) || reloaded != 1 {
		t.Fatalf("reload that fails: %v %v", err, told.list)
	}

	// One that is asked for meanwhile ends with the one that runs, even where that is a check.
	for _, check := range []bool{true, false} {
		s.write("hang")
		life, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = s.m.Reload(life, check) }()
		until(t, "the reload to run", func() bool {
			s.m.roster.mu.Lock()
			defer s.m.roster.mu.Unlock()
			return s.m.roster.reloading != nil
		})
		if !check {
			want = append(want, Reloading)
		}
		want = append(want, Reloading)
		if _, err := s.m.Reload(ctx, false); err != errReloading || !told.are(want...) {
			t.Fatalf("check %v, second reload: %v %v", check, err, told.list)
		}
		cancel()
		<-ended
		if want = append(want, Serving); !told.are(want...) {
			t.Fatalf("check %v, at the end: %v", check, told.list)
		}
	}

	s.write("")
	c := dial(t, s.addr)
	c.echo("hello")
	if err := s.m.Stop(ctx, true); err != nil {
		t.Fatal(err)
	}
	want = append(want, Stopping)
	if !told.are(want...) { // Stop does not wait for the worker
		t.Fatalf("at the beginning of the stop: %v", told.list)
	}
	if _, err := s.m.Reload(ctx, false); err != errStopping {
		t.Error(err)
	}
	s.wait()
	if !told.are(want...) {
		t.Fatalf("after the stop: %v", told.list)
	}
}
