//go:build unix

package hub

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"wsframe/framework/auth"
	"wsframe/framework/internal/wire"
)

// A response that the kernel does not accept delays nobody. It is sent before all frames, once the
// peer reads.
func TestAnswerDoesNotWait(t *testing.T) {
	s := serve(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tcp := nc.(*net.TCPConn)
	filled := fill(t, tcp)
	c, err := s.Accept(tcp, nil, 1000, auth.Identity{}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	request := "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Serve(r, func() {}, nil); err != nil { // the peer reads only when it has returned
		t.Fatal(err)
	}
	if err := c.Send(wire.TextFrame([]byte("first"))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, peer, filled); err != nil {
		t.Fatal(err)
	}
	reader := &client{t, peer, bufio.NewReader(peer)}
	resp, err := http.ReadResponse(reader.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	reader.want(0x81, "first")
}

// fill writes until the kernel accepts no more, and returns the number of bytes.
func fill(t *testing.T, tcp *net.TCPConn) (n int64) {
	t.Helper()
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte("j"), 64<<10)
	// The kernel moves bytes to the peer's side, so it may accept more a moment later.
	for again := true; again; {
		again = false
		err := raw.Write(func(fd uintptr) bool {
			for {
				done, err := syscall.Write(int(fd), junk)
				if err != nil || done <= 0 {
					return true
				}
				n, again = n+int64(done), true
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// BytesReceived counts what comes during the connection's own action, up to the limit of reading
// ahead.
func TestHeardUnderAction(t *testing.T) {
	w, s := newWait(), serveHours(t, Config{})
	s.on = w.act
	c := s.dial()
	c.text("wait")
	conn := <-w.began
	before, known := conn.BytesReceived()
	if again, still := conn.BytesReceived(); again != before || !known || !still {
		t.Fatalf("%d %t, then %d %t", before, known, again, still)
	}
	conn.Ping()
	c.want(0x89, "")
	c.raw(frameBytes(0x8a, nil))
	s.waitFor("the pong is heard", func() bool { n, known := conn.BytesReceived(); return known && n > before })
	c.raw(bytes.Repeat(frameBytes(0x81, bytes.Repeat([]byte("b"), 60<<10)), 2))
	s.waitFor("more than is read ahead", func() bool { _, known := conn.BytesReceived(); return !known })
	close(w.open)
	s.waitFor("it is read again", func() bool { _, known := conn.BytesReceived(); return known })
}

// BytesReceived is unknown for a frozen connection.
func TestHeardWhileFrozen(t *testing.T) {
	s := serve(t, Config{})
	s.dial()
	conn := s.only()
	s.Freeze(0)
	if _, known := conn.BytesReceived(); known {
		t.Error("a frozen connection is said to be silent")
	}
	s.Thaw()
	if _, known := conn.BytesReceived(); !known {
		t.Error("not heard after the thaw")
	}
}
