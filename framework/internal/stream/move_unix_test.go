//go:build unix

package stream

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// move moves the streams of a worker to the next one, as a transfer does.
func move(t *testing.T, from, to *Streams) {
	t.Helper()
	list, files, err := from.Export()
	if err != nil {
		t.Fatal(err)
	}
	var moved []Moved
	for _, m := range list {
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if m, err = Decode(b); err != nil {
			t.Fatal(err)
		}
		moved = append(moved, m)
	}
	var theirs []*os.File
	for _, f := range files { // as the descriptors that the other process gets
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			n, err := syscall.Dup(int(fd))
			if err != nil {
				t.Fatal(err)
			}
			theirs = append(theirs, os.NewFile(uintptr(n), "theirs"))
		})
	}
	from.Release()
	to.Import(moved, theirs)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain: ", what)
		}
	}
}

// Streams go on in the next workers while their producers stay, byte for byte.
func TestMove(t *testing.T) {
	const streams, parts = 20, 400
	w := newWorld()
	workers := []*Streams{w.worker()}
	next := make([]chan struct{}, 4)
	for i := range next {
		next[i] = make(chan struct{})
	}
	produce := func(fd int) func(*Writer) error {
		return func(w *Writer) error {
			for i := range parts {
				if i%100 == 0 {
					<-next[i/100]
				}
				if _, err := fmt.Fprintf(w, "%d:%d;", fd, i); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for fd := 1; fd <= streams; fd++ {
		_, begin, err := workers[0].Start(Who{FD: int64(fd)}, produce(fd))
		if err != nil {
			t.Fatal(err)
		}
		begin()
	}
	for i := range next {
		close(next[i])
		if i == len(next)-1 {
			break
		}
		if i == 1 { // one that fails
			if _, _, err := workers[i].Export(); err != nil {
				t.Fatal(err)
			}
			workers[i].Thaw()
		}
		workers = append(workers, w.worker())
		move(t, workers[i], workers[i+1])
		// An old worker's action may begin a stream after the move.
		_, begin, err := workers[i].Start(Who{FD: int64(1000 + i)}, produce(1000+i))
		if err != nil {
			t.Fatal(err)
		}
		begin()
	}
	for fd := range int64(1003) {
		if fd == 0 || fd > streams && fd < 1000 {
			continue
		}
		until(t, fmt.Sprint("the end of ", fd), func() bool { return w.endOf(fd) != "" })
		var all strings.Builder
		for i := range parts {
			fmt.Fprintf(&all, "%d:%d;", fd, i)
		}
		w.want(t, fd, all.String(), fmt.Sprint("done", parts))
	}
	for _, s := range workers {
		if n := s.Producing(); n != 0 {
			t.Error(n, "still produce")
		}
		end(s)
	}
}

// A cancel reaches the producer in an old worker, and the end of that worker the clients.
func TestMovedEnds(t *testing.T) {
	w := newWorld()
	a, b, c := w.worker(), w.worker(), w.worker()
	start := func(fd int64) (string, chan error) {
		got := make(chan error, 1)
		id, begin, err := a.Start(Who{FD: fd}, func(w *Writer) error {
			fmt.Fprint(w, "x")
			<-w.Done()
			got <- w.Err()
			return w.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		begin()
		until(t, "the text", func() bool { return w.textOf(fd) == "x" })
		return id, got
	}
	first, cancelled := start(1)
	_, drained := start(2)
	_, lost := start(3)
	move(t, a, b)
	move(t, b, c)
	if !c.Cancel(first, Who{FD: 1}) {
		t.Error("not found")
	}
	<-cancelled
	until(t, "the end", func() bool { return w.endOf(1) == "cancelled1" })
	end(a)
	<-drained
	<-lost
	until(t, "the end", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.ends[2] == "drained1" && w.ends[3] == "drained1"
	})
	end(b)
	end(c)
}

// A worker that dies leaves an end for the clients of its producers.
func TestDeadProducer(t *testing.T) {
	w := newWorld()
	a, b := w.worker(), w.worker()
	_, begin, err := a.Start(Who{FD: 1}, func(w *Writer) error { fmt.Fprint(w, "x"); <-w.Done(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	begin()
	until(t, "the text", func() bool { return w.textOf(1) == "x" })
	move(t, a, b)
	a.mu.Lock()
	out := a.out
	a.mu.Unlock()
	out.close()
	until(t, "the end", func() bool { return w.endOf(1) == "lost1" })
	end(a)
	end(b)
}
