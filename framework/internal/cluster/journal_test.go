package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A flush waits until everything before it was written, compared after a drop, or filled after
// lacking.
func TestFlushOfJournal(t *testing.T) {
	for name, settle := range map[string]func(j *journal){
		"written": func(j *journal) { ops, dropped := j.next(pipeline); j.done(len(ops), dropped) },
		"dropped": func(j *journal) {
			for !j.overflow {
				j.append(op{kind: opStale})
			}
			_, dropped := j.overflowed()
			ops, _ := j.next(pipeline)
			j.done(len(ops), dropped)
			j.resynced(dropped)
		},
		"lacking": func(j *journal) {
			j.lack(map[int64]lack{1: {opened: true}})
			ops, dropped := j.next(pipeline)
			j.done(len(ops), dropped)
			time.Sleep(time.Second)
			j.filled([]int64{1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJournal(3, time.Now)
				j.append(op{kind: opOpened, fd: 1, entry: &Entry{FD: 1}})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := j.flush(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("nothing was written: %v", err)
				}
				flushed := make(chan error, 1)
				go func() { flushed <- j.flush(t.Context(), nil) }()
				synctest.Wait()
				if len(flushed) > 0 {
					t.Fatal("it has not waited")
				}
				settle(j)
				if err := <-flushed; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Redis has not heard of a connection whose Opened was never tried, or was refused without a trace.
func TestUnheardOfJournal(t *testing.T) {
	j := newJournal(100, time.Now)
	want := func(fds ...int64) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(j.unheard())); !slices.Equal(got, fds) {
			t.Errorf("unheard: %v, want %v", got, fds)
		}
	}
	for fd := range int64(4) {
		j.append(op{kind: opOpened, fd: fd, entry: &Entry{FD: fd}})
	}
	j.append(op{kind: opClosed, fd: 3, entry: &Entry{FD: 3}})
	want(0, 1, 2)
	_, dropped := j.next(1)
	j.attempt(1, dropped)
	want(1, 2)
	j.lack(map[int64]lack{1: {unheard: true}})
	j.attempt(5, dropped)
	want(1)
	j.heard([]int64{1})
	want()
	j.append(op{kind: opOpened, fd: 9, entry: &Entry{FD: 9}})
	want(9)
	if unheard := j.abandon(); len(unheard) != 1 || j.len() != 0 {
		t.Errorf("abandoned with %v, %d left", unheard, j.len())
	}
}
