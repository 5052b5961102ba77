//go:build unix

package process

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func bareConns(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	a, b, err := socketPair("test")
	if err != nil {
		t.Fatal(err)
	}
	defer closeFiles([]*os.File{a, b})
	x, err := net.FileConn(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := net.FileConn(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = x.Close(), y.Close() })
	return x, y
}

func pair(t *testing.T, a, b handleFunc) (*peer, *peer) {
	x, y := bareConns(t)
	p, q := newPeer(x, a), newPeer(y, b)
	t.Cleanup(func() { p.close(); q.close() })
	return p, q
}

func testHandle(ctx context.Context, r request) (any, error) {
	defer closeFiles(r.files)
	switch r.kind {
	case "double":
		var n int
		err := r.decode(&n)
		return 2 * n, err
	case "read": // what the files hold
		var all []string
		for _, f := range r.files {
			b, err := io.ReadAll(f)
			if err != nil {
				return nil, err
			}
			all = append(all, string(b))
		}
		return all, nil
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "panic":
		panic("ouch")
	case "huge":
		return strings.Repeat("x", maxControl), nil
	case "both":
		return 7, errors.New("half done")
	}
	return nil, errors.New("what?")
}

func TestControlCalls(t *testing.T) {
	p, q := pair(t, testHandle, testHandle)
	ctx := t.Context()
	for _, side := range []*peer{p, q} {
		var n int
		if err := side.call(ctx, "double", 21, &n); err != nil || n != 42 {
			t.Fatalf("%d %v", n, err)
		}
		for kind, want := range map[string]string{"panic": "its log says why", "huge": "too large", "other": "what?", "double": "cannot unmarshal"} {
			if err := side.call(ctx, kind, "text", nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "goroutine") {
				t.Fatalf("%s: %v", kind, err)
			}
		}
		if err := side.call(ctx, "both", nil, &n); err == nil || err.Error() != "half done" || n != 7 {
			t.Fatalf("%d %v", n, err)
		}
		if err := side.call(ctx, "double", strings.Repeat("x", maxControl), nil); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Fatalf("%v", err)
		}
	}
}

// The handler's time ends a little before the caller's, so that the error is the handler's.
func TestControlDeadline(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{time.Minute: 59 * time.Second, time.Second: 900 * time.Millisecond, -time.Second: 1} {
		if got := workLimit(wait); got != want {
			t.Errorf("%v of %v", got, wait)
		}
	}
	p, _ := pair(t, nil, testHandle)
	if err := p.callWithin(t.Context(), time.Millisecond, "wait", nil, nil); err == nil || err.Error() != context.DeadlineExceeded.Error() {
		t.Fatalf("%v", err)
	}
	early, stop := context.WithCancel(t.Context())
	stop()
	if err := p.call(early, "wait", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}

func TestControlFiles(t *testing.T) {
	p, _ := pair(t, nil, testHandle)
	for _, filler := range []int{0, 1 << 20} { // more than a socket takes at once
		var files []*os.File
		for _, text := range []string{"one", "two"} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.WriteString(text); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			files = append(files, r)
		}
		var got []string
		if err := p.call(t.Context(), "read", strings.Repeat("x", filler), &got, files...); err != nil || strings.Join(got, " ") != "one two" {
			t.Fatalf("%v %v", got, err)
		}
		if _, err := files[0].Stat(); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("still open here: %v", err)
		}
	}
}

func TestControlGone(t *testing.T) {
	p, q := pair(t, testHandle, testHandle)
	asked := make(chan error, 1)
	go func() { asked <- p.call(context.Background(), "wait", nil, nil) }()
	if err := p.call(t.Context(), "double", 1, nil); err != nil {
		t.Fatal(err)
	}
	q.close()
	if err := <-asked; !errors.Is(err, errPeerGone) {
		t.Fatalf("%v", err)
	}
	<-p.gone
	if err := p.call(t.Context(), "double", 1, nil); !errors.Is(err, errPeerGone) {
		t.Fatalf("%v", err)
	}
}

// A write to a process that does not read lasts no longer than writeTime.
func TestControlUnread(t *testing.T) {
	x, _ := bareConns(t)
	p := makePeer(x, testHandle)
	p.writeTime = 50 * time.Millisecond
	go p.read()
	defer p.close()
	if err := p.call(context.Background(), "double", strings.Repeat("x", maxControl/2), nil); !errors.Is(err, errPeerGone) {
		t.Fatalf("%v", err)
	}
}

// No input makes the reader panic, and the channel is closed at its end.
func FuzzControl(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\x00\x00\x00\x1e{\"id\":1,\"kind\":\"double\",\"body\":1}"))
	f.Add([]byte("\x00\x00\x00\x19{\"id\":1,\"answer\":true}\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x14{\"id\":1,\"files\":1000}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		x, y := bareConns(t)
		p := newPeer(x, func(_ context.Context, r request) (any, error) { return nil, nil })
		go io.Copy(io.Discard, y)
		if _, err := y.Write(b); err == nil {
			_ = y.(*net.UnixConn).CloseWrite()
		}
		<-p.gone
		_ = y.Close()
	})
}

func TestTail(t *testing.T) {
	long := strings.Repeat("a line of a stack\n", 10_000)
	for _, tc := range []struct{ name, in, want string }{
		{"nothing", " \n", ""},
		{"short", "one\ntwo\n", ":\none\ntwo"},
		{"crash at first", "panic: x\n\ngoroutine 1\n", ":\npanic: x\n\ngoroutine 1"},
		{"crash later", "hello\nfatal error: y\n", ":\nfatal error: y"},
		{"not at the beginning of a line", "say panic: z\n", ":\nsay panic: z"},
	} {
		o := &tail{Lines: lines(nil)}
		if n, err := o.Write([]byte(tc.in)); n != len(tc.in) || err != nil {
			t.Fatal(n, err)
		}
		if got := o.last(); got != tc.want {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
	o := &tail{Lines: lines(nil)}
	_, _ = o.Write([]byte(long))
	_, _ = o.Write([]byte("the end\n"))
	if got := o.last(); len(got) > lastSize+2 || !strings.HasPrefix(got, ":\na line") || !strings.HasSuffix(got, "\nthe end") || len(o.kept) > tailSize {
		t.Errorf("%d %q", len(got), got)
	}
	_, _ = o.Write([]byte("panic: no\n" + long[:tailSize/2]))
	if got := o.last(); len(got) > lastSize || !strings.HasPrefix(got, ":\npanic: no\na line") {
		t.Errorf("%d %q", len(got), got)
	}
}

// A reply that was written before the end of the process arrives, even after a failed write to it.
func TestControlLastWords(t *testing.T) {
	x, y := bareConns(t)
	p := makePeer(x, testHandle)
	answered := make(chan error, 1)
	var n int
	go func() { answered <- p.call(t.Context(), "stop", nil, &n) }()
	var head [4]byte
	if _, err := io.ReadFull(y, head[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, y, int64(binary.BigEndian.Uint32(head[:]))); err != nil {
		t.Fatal(err)
	}
	b := []byte(`{"id":1,"answer":true,"body":7}`)
	if _, err := y.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		t.Fatal(err)
	}
	_ = y.Close()
	if err := p.note("settled", nil); !errors.Is(err, errPeerGone) {
		t.Fatal(err)
	}
	go p.read()
	if err := <-answered; err != nil || n != 7 {
		t.Fatalf("%d %v", n, err)
	}
	<-p.gone
}
