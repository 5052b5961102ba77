package hub

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wsframe/framework/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEchoInPieces(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	big := strings.Repeat("0123456789abcdef", 4096) // 64 KiB: the limit
	for _, text := range []string{"", "x", strings.Repeat("y", 125), strings.Repeat("z", 126), strings.Repeat("w", 20_000), big} {
		c.text(text)
		c.want(0x81, text)
	}
	// One frame byte by byte, two in one write, and one whose header is cut.
	for _, b := range frameBytes(0x81, []byte("slow")) {
		c.raw([]byte{b})
	}
	c.want(0x81, "slow")
	two := append(frameBytes(0x81, []byte("one")), frameBytes(0x81, []byte("two"))...)
	c.raw(append(two, frameBytes(0x81, []byte("three"))[:3]...))
	c.want(0x81, "one")
	c.want(0x81, "two")
	c.raw(frameBytes(0x81, []byte("three"))[3:])
	c.want(0x81, "three")
	// Fragments with a ping between.
	c.raw(frameBytes(0x01, []byte("a")))
	c.raw(frameBytes(0x89, []byte("ping")))
	c.raw(frameBytes(0x00, []byte("b")))
	c.want(0x8A, "ping")
	c.raw(frameBytes(0x80, []byte("c")))
	c.want(0x81, "abc")
	c.raw(frameBytes(0x88, []byte{0x0f, 0xa5, 'b', 'y', 'e'})) // 4005
	c.wantClose(4005)
	s.wantClose(1, 4005)
}

func TestBadFrames(t *testing.T) {
	s := serve(t, Config{MessageBytes: 1 << 10, Fragments: 4})
	unmasked := []byte{0x81, 1, 'x'}
	claim := func(n uint64) []byte {
		return binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, n)
	}
	cases := []struct {
		name string
		send []byte
		code int
	}{
		{"length 2^63", append(claim(1<<63), 1, 2, 3, 4), wire.CloseTooLarge},
		{"length 2^64-1", append(claim(1<<64-1), 1, 2, 3, 4), wire.CloseTooLarge},
		{"one over the limit", append(claim(1<<10+1), 1, 2, 3, 4), wire.CloseTooLarge},
		{"rsv1", frameBytes(0xC1, []byte("x")), wire.CloseProtocolError},
		{"rsv2", frameBytes(0xA1, []byte("x")), wire.CloseProtocolError},
		{"rsv3", frameBytes(0x91, []byte("x")), wire.CloseProtocolError},
		{"unmasked", unmasked, wire.CloseProtocolError},
		{"opcode 3", frameBytes(0x83, nil), wire.CloseProtocolError},
		{"opcode 15", frameBytes(0x8f, nil), wire.CloseProtocolError},
		{"fragmented ping", frameBytes(0x09, nil), wire.CloseProtocolError},
		{"long ping", frameBytes(0x89, make([]byte, 126)), wire.CloseProtocolError},
		{"continuation of nothing", frameBytes(0x80, nil), wire.CloseProtocolError},
		{"text in a message", append(frameBytes(0x01, nil), frameBytes(0x81, nil)...), wire.CloseProtocolError},
		{"fragments too large", append(frameBytes(0x01, make([]byte, 1000)), frameBytes(0x80, make([]byte, 25))...), wire.CloseTooLarge},
		{"too many fragments", append(frameBytes(0x01, nil), bytes.Repeat(frameBytes(0x00, nil), 4)...), wire.ClosePolicy},
		{"bad UTF-8", frameBytes(0x81, []byte{0xff}), wire.CloseBadData},
		{"close with one byte", frameBytes(0x88, []byte{3}), wire.CloseProtocolError},
		{"close code 1005", frameBytes(0x88, []byte{0x03, 0xed}), wire.CloseProtocolError},
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := s.dial()
			c.t = t
			// Frames before the bad one are still answered.
			c.raw(append(frameBytes(0x81, []byte("before")), tc.send...))
			c.want(0x81, "before")
			c.wantClose(tc.code)
			s.waitFor("close", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.closes[int64(i+1)]) == 1
			})
		})
	}
	c := s.dial()
	c.text("next")
	c.want(0x81, "next")
}

func TestMessageRate(t *testing.T) {
	s := serve(t, Config{MessageRate: 10, MessageBurst: 20})
	c := s.dial()
	c.raw(bytes.Repeat(frameBytes(0x81, []byte("x")), 40))
	for range 20 {
		c.want(0x81, "x")
	}
	c.wantClose(wire.ClosePolicy)
}

func TestCloseComesBehindWhatIsQueued(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	const n, size = 900, 1000
	s.mu.Lock()
	s.on = func(c *Conn, _ []byte) {
		for range n {
			_ = c.SendText(append(make([]byte, wire.Headroom), strings.Repeat("q", size)...))
		}
		c.Close(4001, "enough")
	}
	s.mu.Unlock()
	c.text("go")
	for range n {
		c.want(0x81, strings.Repeat("q", size))
	}
	c.wantClose(4001)
	s.wantClose(1, 4001)
}

func TestSlowReader(t *testing.T) {
	s := serve(t, Config{WriteTimeout: time.Second})
	slow, fast := s.dial(), s.dial()
	s.waitFor("both", func() bool { return s.Len() == 2 })
	for _, fd := range []int64{1, 2} {
		if _, err := s.Get(fd).Join("room"); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, fast.br) }()
	f := wire.TextFrame(make([]byte, 32<<10))
	s.waitFor("slow one closed", func() bool {
		s.Publish("room", f)
		c := s.Get(1)
		if c == nil {
			return true
		}
		if b, n := c.Pending(); b > 1<<20+200 || n > 1024 {
			t.Fatalf("outbox holds %d bytes, %d frames", b, n)
		}
		return false
	})
	s.wantClose(1, wire.CloseSlow)
	if s.Get(2) == nil {
		t.Fatal("the fast one was closed too")
	}
	_ = slow
}

func TestPanicsCostNothing(t *testing.T) {
	s := serve(t, Config{})
	s.on = func(c *Conn, data []byte) {
		if string(data) == "panic" {
			panic("on purpose")
		}
		echo(c, data)
	}
	c := s.dial()
	for range 1000 {
		c.text("panic")
	}
	c.text("alive")
	c.want(0x81, "alive")
}

func TestIdleAndPing(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{PingInterval: time.Second, IdleTimeout: 3 * time.Second})
	c := s.dial()
	c.want(0x89, "")
	c.wantClose(wire.CloseIdle)
	s.wantClose(1, wire.CloseIdle)
}

func TestMessageTime(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{MessageTime: time.Second})
	c := s.dial()
	c.raw(frameBytes(0x81, []byte("never whole"))[:8])
	c.wantClose(wire.ClosePolicy)
}

func deflated(p []byte) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	_, _ = w.Write(p)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}

func (s *server) dialDeflate() *client {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	c := &client{s.t, nc, bufio.NewReader(nc)}
	c.raw([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || !strings.Contains(resp.Header.Get("Sec-WebSocket-Extensions"), "server_no_context_takeover") || !strings.Contains(resp.Header.Get("Sec-WebSocket-Extensions"), "client_no_context_takeover") {
		s.t.Fatal(resp, err)
	}
	return c
}

// Compressed messages are read up to the limit of their inflated size (promise L3).
func TestCompression(t *testing.T) {
	s := serve(t, Config{Compression: true, MessageBytes: 4096})
	c := s.dialDeflate()
	text := strings.Repeat("compress me ", 300)
	c.raw(frameBytes(0xC1, deflated([]byte(text))))
	c.want(0x81, text)
	bomb := deflated(make([]byte, 15<<20)) // 15 KB on the wire
	if len(bomb) > 16<<10 {
		t.Fatal(len(bomb))
	}
	for _, p := range [][]byte{bomb[:4000], deflated(make([]byte, 4097))} {
		c = s.dialDeflate()
		c.raw(frameBytes(0xC1, p))
		c.wantClose(wire.CloseTooLarge)
	}
	c = s.dialDeflate()
	c.raw(frameBytes(0xC1, []byte("not deflate at all")))
	c.wantClose(wire.CloseBadData)
}

// resting returns the number of readers that wait outside gws.
func (s *server) resting() (n int) {
	if runtime.GOOS == "linux" && reader != "blocking" { // no goroutine reads
		s.Each(func(c *Conn) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			if w := &c.in.watched; w.loop != nil && w.turn.state.CompareAndSwap(turnIdle, turnOwned) {
				if c.in.ws == nil && c.in.buf == nil {
					n++
				}
				if !w.turn.release() {
					go w.serve()
				}
			}
			return true
		})
		return n
	}
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "(*blocking).rest(")
}

// Quiet connections wait on a small stack, and lose no message by resting.
func TestRest(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial()
	rests := func(want int) {
		t.Helper()
		s.waitFor(fmt.Sprintf("%d rest", want), func() bool { return s.resting() == want })
	}
	rests(1)
	watched := 0 // connections that an event loop watches
	if runtime.GOOS == "linux" && reader != "blocking" {
		watched = 1
	}
	for range 3 {
		c.raw(frameBytes(0x81, []byte("one")))
		c.want(0x81, "one")
		rests(watched)                      // a reader of its own waits inside gws for more
		c.raw(frameBytes(0x8a, []byte(""))) // a pong
		rests(1)
		c.raw(frameBytes(0x89, []byte("ping")))
		c.want(0x8a, "ping")
		rests(1)
		c.raw(frameBytes(0x01, []byte("frag")))
		c.raw(frameBytes(0x8a, []byte("")))
		c.raw(frameBytes(0x89, []byte("between")))
		c.want(0x8a, "between")
		rests(0)
		c.raw(append(frameBytes(0x80, []byte("ments")), frameBytes(0x8a, nil)...))
		c.want(0x81, "fragments")
		half := frameBytes(0x81, []byte("two halves"))
		c.raw(append(frameBytes(0x8a, nil), half[:7]...))
		c.raw(half[7:])
		c.want(0x81, "two halves")
		c.raw(frameBytes(0x8a, []byte("")))
		rests(1)
	}
	s.Get(1).Close(wire.CloseGoingAway, "over") // wakes the reader
	c.want(0x88, "\x03\xe9over")
	c.raw(frameBytes(0x88, []byte{0x03, 0xe9}))
	s.wantClose(1, wire.CloseGoingAway)
}
