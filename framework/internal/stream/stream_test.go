package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// world is the connections of some workers.
type world struct {
	mu      sync.Mutex
	text    map[int64]string
	frames  map[int64]int
	ends    map[int64]string
	waiting map[int64]int
	left    map[int64]bool
}

func newWorld() *world {
	return &world{text: map[int64]string{}, frames: map[int64]int{}, ends: map[int64]string{}, waiting: map[int64]int{}, left: map[int64]bool{}}
}

func (w *world) worker() *Streams {
	return New(Config{
		Send: func(fd int64, param any) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.left[fd] {
				return errors.New("gone")
			}
			switch p := param.(type) {
			case Part:
				w.text[fd] += p.Text
				w.frames[fd]++
			case End:
				w.ends[fd] += fmt.Sprint(p.Reason, p.Part)
			}
			return nil
		},
		Waiting: func(fd int64) (int, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.waiting[fd], !w.left[fd]
		},
		Alive:   func(int64) bool { return false },
		Protect: func(_ string, f func()) { defer func() { _ = recover() }(); f() },
		Log:     zap.NewNop(),
	})
}

func (w *world) framesOf(fd int64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.frames[fd]
}

func (w *world) textOf(fd int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text[fd]
}

func (w *world) endOf(fd int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ends[fd]
}

func (w *world) want(t *testing.T, fd int64, text, end string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text[fd] != text || w.ends[fd] != end {
		t.Errorf("connection %d has %.80q and the end %q, want %.80q and %q", fd, w.text[fd], w.ends[fd], text, end)
	}
}

func end(s *Streams) {
	s.End()
	s.Close()
}

// A stream is the text of its parts, in any number of frames. Letters stay whole.
func TestParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.worker()
		go1 := make(chan struct{})
		id, begin, err := s.Start(Who{FD: 1}, func(w *Writer) error {
			fmt.Fprint(w, "a")
			<-go1
			for _, b := range []byte("你好\xff!") {
				if _, err := w.Write([]byte{b}); err != nil {
					return err
				}
			}
			_, err := w.WriteString(strings.Repeat("é", maxPart) + "\xe4")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.want(t, 1, "", "")
		begin()
		synctest.Wait()
		w.want(t, 1, "a", "")
		close(go1)
		time.Sleep(time.Second)
		whole := "a你好\ufffd!" + strings.Repeat("é", maxPart) + "\ufffd"
		w.want(t, 1, whole, "done8")
		// A client that comes late gets all, and one that comes again the rest.
		if !s.Resume(id, 2, 0) || !s.Resume(id, 3, 1) || !s.Resume(id, 4, 1e9) || s.Resume("other", 5, 0) {
			t.Error("cannot be resumed")
		}
		time.Sleep(time.Second)
		w.want(t, 2, whole, "done8")
		w.want(t, 3, whole[1:], "done8")
		w.want(t, 4, "", "done8")
		time.Sleep(keep + around)
		if s.Resume(id, 6, 0) || s.total != 0 {
			t.Error("never forgotten", s.total)
		}
		end(s)
	})
}

// A slow client gets fewer and longer frames; the others do not wait for it.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.worker()
		w.waiting[2] = behind + 1
		id, begin, _ := s.Start(Who{FD: 1}, func(w *Writer) error {
			for i := range 100 {
				fmt.Fprintf(w, "%d,", i)
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		begin()
		s.Resume(id, 2, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		if w.framesOf(1) < 50 || w.framesOf(2) != 0 {
			t.Error(w.framesOf(1), w.framesOf(2))
		}
		w.mu.Lock()
		w.waiting[2] = 0
		w.mu.Unlock()
		time.Sleep(time.Second)
		all := ""
		for i := range 100 {
			all += fmt.Sprint(i, ",")
		}
		w.want(t, 1, all, "done100")
		w.want(t, 2, all, "done100")
		if w.framesOf(2) != 1 {
			t.Error(w.framesOf(2))
		}
		end(s)
	})
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.worker()
		causes := make(chan error, 1)
		wait := func(w *Writer) error {
			fmt.Fprint(w, "x")
			<-w.Done()
			causes <- context.Cause(w)
			return w.Err()
		}
		start := func(fd int64, produce func(*Writer) error) string {
			id, begin, err := s.Start(Who{FD: fd, Owner: "u:7"}, produce)
			if err != nil {
				t.Fatal(err)
			}
			begin()
			synctest.Wait()
			return id
		}
		id := start(1, wait)
		if s.Cancel(id, Who{FD: 2, Owner: "u:8"}) || s.Cancel(id, Who{FD: 2}) || s.Cancel("?", Who{FD: 1}) {
			t.Error("a stranger has cancelled it")
		}
		if !s.Cancel(id, Who{FD: 2, Owner: "u:7"}) || <-causes != ErrCancelled {
			t.Error("not cancelled")
		}
		id = start(2, wait)
		w.mu.Lock()
		w.left[2] = true
		w.mu.Unlock()
		time.Sleep(linger - askEvery)
		s.Resume(id, 3, 0) // the user comes again in time
		time.Sleep(linger)
		w.want(t, 3, "x", "")
		w.mu.Lock()
		w.left[3] = true
		w.mu.Unlock()
		time.Sleep(linger + 2*askEvery)
		if cause := <-causes; cause != ErrLeft {
			t.Error(cause)
		}
		start(4, func(w *Writer) error { return errors.New("no model") })
		start(5, func(w *Writer) error { panic("oh") })
		start(6, func(w *Writer) error {
			for {
				if _, err := w.WriteString(strings.Repeat("x", 1000)); err != nil {
					causes <- err
					return err
				}
			}
		})
		if err := <-causes; err != ErrTooLarge {
			t.Error(err)
		}
		start(7, wait)
		time.Sleep(time.Second)
		end(s)
		<-causes
		for fd, want := range map[int64]string{1: "cancelled1", 4: "failed0", 5: "failed0", 6: fmt.Sprint("tooLarge", MaxText/1000), 7: "drained1"} {
			if got := w.endOf(fd); got != want {
				t.Errorf("connection %d: %s, want %s", fd, got, want)
			}
		}
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.worker()
		wait := func(w *Writer) error { <-w.Done(); return nil }
		for range MaxOpen {
			if _, _, err := s.Start(Who{FD: 1}, wait); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Start(Who{FD: 1}, wait); !errors.Is(err, ErrTooMany) {
			t.Error(err)
		}
		if _, _, err := s.Start(Who{FD: 2}, wait); err != nil {
			t.Error(err)
		}
		if n := s.Producing(); n != MaxOpen+1 {
			t.Error(n)
		}
		s.mu.Lock()
		s.total = MaxTotal
		s.mu.Unlock()
		if _, _, err := s.Start(Who{FD: 3}, wait); !errors.Is(err, ErrTooMany) {
			t.Error(err)
		}
		end(s)
	})
}
