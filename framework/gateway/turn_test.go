//go:build linux

package gateway

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
)

// What a PHP process sends on one connection takes effect before what it sends later on another:
// from a worker to its lasting connection for questions, from one short connection to the next, and
// from a lasting connection to a short one.
func TestTurns(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	in := NewInner(InnerConfig{Commands: &Commands{Backend: newFake(1)}})
	ended := make(chan error)
	go func() { ended <- in.Run(ctx, ln) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	put := func(c net.Conn, f Frame) {
		f.Connection, f.Flag = 1, FlagBytes
		if _, err := c.Write(AppendFrame(nil, f)); err != nil {
			t.Fatal(err)
		}
	}
	session := func(c net.Conn) string {
		put(c, Frame{Command: cmdSessionByClient})
		size := make([]byte, 4)
		if _, err := io.ReadFull(c, size); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, binary.BigEndian.Uint32(size))
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	asker, worker, lasting := dial(), dial(), dial()
	session(asker)
	session(lasting)
	put(worker, Frame{Command: cmdWorkerConnect, Body: []byte(`{"worker_key":"B:0"}`)})
	session(worker)
	for i := range 300 {
		want := "i:" + strconv.Itoa(i) + ";"
		put(worker, Frame{Command: cmdSetSession, Ext: []byte(want)})
		if got := session(asker); got != want {
			t.Fatalf("%d: %s after another connection has set %s", i, got, want)
		}
		want = "s:" + want
		short := dial()
		put(short, Frame{Command: cmdSetSession, Ext: []byte(want)})
		_ = short.Close()
		short = dial()
		if got := session(short); got != want {
			t.Fatalf("%d: %s after an earlier connection has set %s", i, got, want)
		}
		_ = short.Close()
		want = "d:" + want
		put(lasting, Frame{Command: cmdSetSession, Ext: []byte(want)})
		short = dial()
		if got := session(short); got != want {
			t.Fatalf("%d: %s after a lasting connection has set %s", i, got, want)
		}
		_ = short.Close()
	}
	_, _, _ = asker.Close(), worker.Close(), lasting.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
