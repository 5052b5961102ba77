package socket

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.8.9.1:80": true, "localhost": true, "LocalHost:1": true, "::1": true, "[::1]": true, "[::1]:80": true,
		"0.0.0.0": false, "": false, ":80": false, "192.0.2.1": false, "localhost.evil": false, "127.0.0.1.evil:80": false, "::": false,
	} {
		if IsLoopback(host) != want {
			t.Errorf("%q is this machine: %t", host, !want)
		}
	}
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// A peer that sent more than was read still gets the last bytes.
func TestLinger(t *testing.T) {
	ln := listen(t)
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := peer.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	c, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.WriteString(c, "goodbye")
		Linger(c)
		_ = c.Close()
	}()
	if b, err := io.ReadAll(peer); string(b) != "goodbye" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	_ = peer.Close()
	<-ended
}

// Clients of a paused listener wait in the kernel and are accepted afterwards.
func TestPausable(t *testing.T) {
	p := NewPausable(listen(t))
	accepted := make(chan error)
	accept := func() {
		c, err := p.Accept()
		if err == nil {
			_ = c.Close()
		}
		accepted <- err
	}
	for range 2 {
		resting := p.Pause()
		if p.Pause() != resting {
			t.Fatal("a second Pause is another one")
		}
		go accept()
		<-resting
		peer, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-accepted:
			t.Fatal("accepted while paused", err)
		default:
		}
		p.Resume()
		p.Resume()
		if err := <-accepted; err != nil {
			t.Fatal(err)
		}
		_ = peer.Close()
	}
	resting := p.Pause()
	go accept()
	<-resting
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-accepted:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Accept waits on")
	}
}
