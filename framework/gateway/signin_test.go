package gateway

import (
	"context"
	"net"
	"testing"
	"time"
)

// A gateway is listed at another Register while it is signed in, and again after that has ended.
func TestSignIn(t *testing.T) {
	const addr = "127.0.0.1:2900"
	listed := func(r *Register) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.gateways) == 1 && r.gateways[0].address == addr
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	failures := make(chan error, 100)
	go func() {
		defer close(done)
		SignIn(ctx, l.Addr().String(), addr, "s", func(err error) { failures <- err })
	}()
	for range 2 {
		serving, end := context.WithCancel(context.Background())
		r := NewRegister(RegisterConfig{Secret: "s"})
		ended := make(chan error, 1)
		go func() { ended <- r.Run(serving, l) }()
		for deadline := time.Now().Add(30 * time.Second); !listed(r); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not listed")
			}
		}
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := <-failures; err == nil {
			t.Error("the end of a connection is no error")
		}
		if l, err = net.Listen("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-done
	_ = l.Close()
}
