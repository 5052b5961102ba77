//go:build unix

package reload

import (
	"bytes"
	"context"
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

func pipes(t *testing.T) (old, next *UnixPipe) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]*UnixPipe{}
	for i, fd := range fds {
		if ends[i], err = NewPipe(t.Context(), os.NewFile(uintptr(fd), "end")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ends[i].Close)
	}
	return ends[0], ends[1]
}

func receive(t *testing.T, w Pipe, kind byte) []byte {
	t.Helper()
	got, body, err := w.Receive(30 * time.Second)
	if err != nil || got != kind {
		t.Fatalf("%q, %v; wanted %q", got, err, kind)
	}
	return body
}

// Claim succeeds in one of the two processes, and only after Offer.
func TestClaim(t *testing.T) {
	old, next := pipes(t)
	if next.Claim() {
		t.Error("a claim before the hello")
	}
	if err := old.Hello([]byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	if body := receive(t, next, msgHello); !bytes.Equal(body, []byte{1, 2}) {
		t.Errorf("hello %q", body)
	}
	for _, w := range [][2]*UnixPipe{{old, next}, {next, old}} {
		if w[0].Claim() || w[1].Claim() {
			t.Error("a claim before the offer")
		}
		if err := old.Offer(); err != nil {
			t.Fatal(err)
		}
		if !w[0].Claim() || w[1].Claim() {
			t.Error("not one of both has the claim")
		}
	}
}

// Descriptors arrive in order, with bodies of any size.
func TestDescriptors(t *testing.T) {
	old, next := pipes(t)
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	sent := make(chan error, 1)
	go func() {
		var err error
		for _, text := range []string{"first", "second"} {
			r, w, e := os.Pipe()
			if e != nil {
				sent <- e
				return
			}
			_, _ = w.WriteString(text)
			_ = w.Close()
			if err == nil {
				err = control(r, func(fd int) error { return old.sendRights(msgBatch, large, []int{fd}) })
			}
			_ = r.Close()
		}
		sent <- err
	}()
	for range 2 {
		if body := receive(t, next, msgBatch); !bytes.Equal(body, large) {
			t.Fatalf("a body of %d bytes", len(body))
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		s, err := next.Socket()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(s); err != nil || string(b) != want {
			t.Errorf("%q, %v; wanted %q", b, err, want)
		}
		_ = s.Close()
	}
	if _, err := next.Socket(); err == nil {
		t.Error("a descriptor that nobody has sent")
	}
}

// A wait for a message ends with the context, with HangUp and with the other process.
func TestReceiveEnds(t *testing.T) {
	old, next := pipes(t)
	next.HangUp()
	if _, _, err := next.Receive(0); err == nil || isTimeout(err) {
		t.Errorf("after HangUp: %v", err)
	}
	next.Close()
	if _, _, err := old.Receive(0); err == nil || isTimeout(err) {
		t.Errorf("the other process has ended: %v", err)
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[1])
	ctx, cancel := context.WithCancel(t.Context())
	w, err := NewPipe(ctx, os.NewFile(uintptr(fds[0]), "end"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	time.AfterFunc(time.Millisecond, cancel)
	if _, _, err := w.Receive(0); !isTimeout(err) {
		t.Errorf("the context has ended: %v", err)
	}
}
