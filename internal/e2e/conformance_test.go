//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The cases of sections 1-7, 9 and 10 of the Autobahn test suite pass against a binary that echoes
// (build tag rawecho).

// rawConn sends and receives frames as bytes.
type rawConn struct {
	t  *testing.T
	nc net.Conn
	br *bufio.Reader
}

func (r *rawConn) send(first byte, payload []byte) { r.bytes(encode(first, payload)) }

func (r *rawConn) bytes(b []byte) {
	_, _ = r.nc.Write(b) // the server may have closed; the test checks its answer
}

func encode(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := []byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask...)
	for i, v := range payload {
		b = append(b, v^mask[i%4])
	}
	return b
}

func (r *rawConn) frame() (byte, []byte, error) {
	var h [2]byte
	if _, err := io.ReadFull(r.br, h[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(h[1])
	switch n {
	case 126:
		var l [2]byte
		if _, err := io.ReadFull(r.br, l[:]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(l[:]))
	case 127:
		var l [8]byte
		if _, err := io.ReadFull(r.br, l[:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(l[:])
	}
	p := make([]byte, n)
	_, err := io.ReadFull(r.br, p)
	return h[0], p, err
}

func (r *rawConn) want(first byte, payload []byte) {
	r.t.Helper()
	got, p, err := r.frame()
	if err != nil || got != first || !bytes.Equal(p, payload) {
		r.t.Fatalf("got %#x, %d bytes %.60q, %v; want %#x, %d bytes %.60q", got, len(p), p, err, first, len(payload), payload)
	}
}

// wantClosed skips echoes, and checks the close frame and a clean end. 0 means any code.
func (r *rawConn) wantClosed(codes ...int) {
	r.t.Helper()
	for {
		first, p, err := r.frame()
		if err != nil {
			r.t.Fatalf("no close frame: %v", err)
		}
		if first != 0x88 {
			continue
		}
		code := 1005
		if len(p) >= 2 {
			code = int(binary.BigEndian.Uint16(p))
			if !utf8.Valid(p[2:]) {
				r.t.Fatalf("reason %q is not UTF-8", p[2:])
			}
		}
		ok := len(codes) == 0
		for _, c := range codes {
			ok = ok || c == code
		}
		if !ok {
			r.t.Fatalf("close code %d, want %v", code, codes)
		}
		break
	}
	if _, err := r.br.ReadByte(); err != io.EOF {
		r.t.Fatalf("the connection does not end cleanly: %v", err)
	}
}

func TestConformance(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "rawecho")
	build := exec.Command("go", "build", "-tags", "rawecho", "-o", bin, "./public")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	usual := console
	console = bin
	defer func() { console = usual }()
	s := start(t, "WSFRAME_APP_LIMITS_MESSAGE_BYTES=16777216", "WSFRAME_APP_LIMITS_OUTBOX_BYTES=67108864", "WSFRAME_APP_LIMITS_OUTBOX_MESSAGES=100000",
		"WSFRAME_APP_LIMITS_MESSAGE_RATE=0", "WSFRAME_APP_LIMITS_FRAGMENTS=1000000", "WSFRAME_APP_LIMITS_MESSAGE_TIME=60s")
	token := s.token("guest", "g")
	run := func(name string, f func(r *rawConn)) {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", s.outside)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(wait))
			fmt.Fprintf(nc, "GET /?auth=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", token)
			r := &rawConn{t: t, nc: nc, br: bufio.NewReader(nc)}
			resp, err := http.ReadResponse(r.br, nil)
			if err != nil || resp.StatusCode != 101 {
				t.Fatal(resp, err)
			}
			f(r)
		})
	}
	bye := func(r *rawConn) {
		r.send(0x88, []byte{3, 232})
		r.wantClosed(1000)
	}
	sizes := []int{0, 125, 126, 127, 128, 65535, 65536}
	for op, name := range map[byte]string{1: "1.1 text", 2: "1.2 binary"} {
		for _, n := range sizes {
			run(fmt.Sprintf("%s of %d", name, n), func(r *rawConn) {
				p := bytes.Repeat([]byte("*"), n)
				r.send(0x80|op, p)
				r.want(0x80|op, p)
				bye(r)
			})
		}
		run(name+" of 65536 in pieces of 997", func(r *rawConn) {
			p := bytes.Repeat([]byte("*"), 65536)
			b := encode(0x80|op, p)
			for len(b) > 0 {
				n := min(997, len(b))
				r.bytes(b[:n])
				b = b[n:]
			}
			r.want(0x80|op, p)
			bye(r)
		})
	}
	for _, p := range []string{"", "Hello", "\x00\xff\xfe\xfd\xfc\xfb\x00\xff", strings.Repeat("\xfe", 125)} {
		run(fmt.Sprintf("2 ping of %d", len(p)), func(r *rawConn) { r.send(0x89, []byte(p)); r.want(0x8A, []byte(p)); bye(r) })
	}
	run("2.5 ping of 126", func(r *rawConn) { r.send(0x89, make([]byte, 126)); r.wantClosed(1002) })
	run("2.6 ping in single bytes", func(r *rawConn) {
		for _, b := range encode(0x89, []byte("single")) {
			r.bytes([]byte{b})
		}
		r.want(0x8A, []byte("single"))
		bye(r)
	})
	run("2.7-2.9 unasked pongs", func(r *rawConn) {
		r.send(0x8A, nil)
		r.send(0x8A, []byte("x"))
		r.send(0x89, []byte("y"))
		r.want(0x8A, []byte("y"))
		bye(r)
	})
	run("2.10 ten pings", func(r *rawConn) {
		for i := range 10 {
			r.send(0x89, []byte{byte(i)})
		}
		for i := range 10 {
			r.want(0x8A, []byte{byte(i)})
		}
		bye(r)
	})
	for rsv := byte(1); rsv < 8; rsv++ {
		run(fmt.Sprintf("3 reserved bits %d", rsv), func(r *rawConn) {
			r.send(0x81, []byte("first"))
			r.want(0x81, []byte("first"))
			r.send(0x81|rsv<<4, []byte("x"))
			r.wantClosed(1002)
		})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		run(fmt.Sprintf("4 reserved opcode %d", op), func(r *rawConn) {
			r.send(0x81, []byte("first"))
			r.want(0x81, []byte("first"))
			r.send(0x80|op, []byte("x"))
			r.wantClosed(1002)
		})
	}
	run("5.1 fragmented ping", func(r *rawConn) { r.send(0x09, []byte("a")); r.send(0x80, []byte("b")); r.wantClosed(1002) })
	run("5.2 fragmented pong", func(r *rawConn) { r.send(0x0A, []byte("a")); r.send(0x80, []byte("b")); r.wantClosed(1002) })
	for _, gap := range []bool{false, true} {
		run(fmt.Sprint("5.3-5.8 fragments, ping between: ", gap), func(r *rawConn) {
			r.send(0x01, []byte("fragment1"))
			if gap {
				r.send(0x89, []byte("ping"))
			}
			r.send(0x80, []byte("fragment2"))
			if gap {
				r.want(0x8A, []byte("ping"))
			}
			r.want(0x81, []byte("fragment1fragment2"))
			bye(r)
		})
	}
	run("5.9 continuation of nothing", func(r *rawConn) { r.send(0x80, []byte("x")); r.send(0x81, []byte("y")); r.wantClosed(1002) })
	run("5.12 continuation of nothing, not final", func(r *rawConn) { r.send(0x00, []byte("x")); r.send(0x81, []byte("y")); r.wantClosed(1002) })
	run("5.15 continuation after the end", func(r *rawConn) {
		r.send(0x01, []byte("a"))
		r.send(0x80, []byte("b"))
		r.send(0x00, []byte("c"))
		r.send(0x81, []byte("d"))
		r.want(0x81, []byte("ab"))
		r.wantClosed(1002)
	})
	run("5.18 two texts begun", func(r *rawConn) { r.send(0x01, []byte("a")); r.send(0x81, []byte("b")); r.wantClosed(1002) })
	run("5.19 five fragments, two pings", func(r *rawConn) {
		for i, first := range []byte{0x01, 0x00, 0x89, 0x00, 0x00, 0x89, 0x80} {
			r.send(first, []byte{'0' + byte(i)})
		}
		r.want(0x8A, []byte("2"))
		r.want(0x8A, []byte("5"))
		r.want(0x81, []byte("01346"))
		bye(r)
	})
	run("6.1 empty fragments", func(r *rawConn) {
		r.send(0x01, nil)
		r.send(0x00, []byte("middle"))
		r.send(0x80, nil)
		r.want(0x81, []byte("middle"))
		bye(r)
	})
	good := []string{"Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\x00", "\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff", "\U0010ffff", "\xed\x9f\xbf", "\ue000", "\ufffd", "\ufffe", "\U0001fffe", "\U0010fffe"}
	for i, text := range good {
		run(fmt.Sprint("6.2-6.23 good UTF-8 ", i), func(r *rawConn) {
			r.send(0x81, []byte(text))
			r.want(0x81, []byte(text))
			for j := range len(text) { // one byte in each fragment, which splits characters
				first := byte(0)
				if j == 0 {
					first = 1
				}
				r.send(first, []byte{text[j]})
			}
			r.send(0x80, nil)
			r.want(0x81, []byte(text))
			bye(r)
		})
	}
	bad := []string{"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\x80", "\xbf", "\x80\xbf\x80", "\xc0\xc1", "\xe0\x80\x80",
		"\xf0\x80\x80\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", "\xfe", "\xff", "\xfe\xfe\xff\xff", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xc3", "\xe4\xb8"}
	for i, text := range bad {
		run(fmt.Sprint("6.3-6.21 bad UTF-8 ", i), func(r *rawConn) { r.send(0x81, []byte(text)); r.wantClosed(1007) })
		run(fmt.Sprint("6.3-6.21 bad UTF-8 in fragments ", i), func(r *rawConn) {
			r.send(0x01, []byte(text)[:1])
			r.send(0x80, []byte(text)[1:])
			r.wantClosed(1007)
		})
	}
	run("7.1.1 message, then close", func(r *rawConn) { r.send(0x81, []byte("x")); r.want(0x81, []byte("x")); bye(r) })
	run("7.1.2 two closes", func(r *rawConn) { r.send(0x88, []byte{3, 232}); r.send(0x88, []byte{3, 232}); r.wantClosed(1000) })
	run("7.1.3 ping behind the close", func(r *rawConn) { r.send(0x88, []byte{3, 232}); r.send(0x89, nil); r.wantClosed(1000) })
	run("7.1.4 text behind the close", func(r *rawConn) { r.send(0x88, []byte{3, 232}); r.send(0x81, []byte("x")); r.wantClosed(1000) })
	run("7.1.5 close in a message", func(r *rawConn) {
		r.send(0x01, []byte("a"))
		r.send(0x88, []byte{3, 232})
		r.send(0x80, []byte("b"))
		r.wantClosed(1000)
	})
	run("7.1.6 much data, then close", func(r *rawConn) {
		p := bytes.Repeat([]byte("BAsd7&jh23"), 26214)
		r.send(0x81, p)
		r.send(0x88, []byte{3, 232})
		r.want(0x81, p)
		r.wantClosed(1000)
	})
	run("7.3.1 empty close", func(r *rawConn) { r.send(0x88, nil); r.wantClosed(1005, 1000) })
	run("7.3.2 close of one byte", func(r *rawConn) { r.send(0x88, []byte{3}); r.wantClosed(1002) })
	run("7.3.4 close with reason", func(r *rawConn) { r.send(0x88, []byte("\x03\xe8Hello World!")); r.wantClosed(1000) })
	run("7.3.5 close with a long reason", func(r *rawConn) {
		r.send(0x88, append([]byte{3, 232}, bytes.Repeat([]byte("*"), 123)...))
		r.wantClosed(1000)
	})
	run("7.3.6 close that is too long", func(r *rawConn) {
		r.send(0x88, append([]byte{3, 232}, bytes.Repeat([]byte("*"), 124)...))
		r.wantClosed(1002)
	})
	run("7.5.1 reason not UTF-8", func(r *rawConn) { r.send(0x88, []byte("\x03\xe8\xce\xba\xed\xa0\x80")); r.wantClosed(1007) })
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		run(fmt.Sprint("7.7 close code ", code), func(r *rawConn) {
			r.send(0x88, binary.BigEndian.AppendUint16(nil, code))
			r.wantClosed(int(code), 1000)
		})
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535} {
		run(fmt.Sprint("7.9 bad close code ", code), func(r *rawConn) {
			r.send(0x88, binary.BigEndian.AppendUint16(nil, code))
			r.wantClosed(1002)
		})
	}
	for _, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20} {
		for _, op := range []byte{1, 2} {
			run(fmt.Sprintf("9.1-9.2 message of %d, opcode %d", n, op), func(r *rawConn) {
				p := bytes.Repeat([]byte("*"), n)
				go r.send(0x80|op, p)
				r.want(0x80|op, p)
			})
		}
	}
	for _, part := range []int{64, 4096, 65536, 1 << 20} {
		run(fmt.Sprintf("9.3-9.4 4 MiB in fragments of %d", part), func(r *rawConn) {
			p := bytes.Repeat([]byte("*"), 4<<20)
			go func() {
				w := bufio.NewWriterSize(r.nc, 64<<10)
				for off := 0; off < len(p); off += part {
					first := byte(0)
					if off == 0 {
						first = 2
					}
					if off+part >= len(p) {
						first |= 0x80
					}
					_, _ = w.Write(encode(first, p[off:off+part]))
				}
				_ = w.Flush()
			}()
			r.want(0x82, p)
		})
	}
	run("9.7 a thousand round trips", func(r *rawConn) {
		for range 1000 {
			r.send(0x81, []byte("*"))
			r.want(0x81, []byte("*"))
		}
	})
	run("10.1 text of 65536 in fragments of 1300", func(r *rawConn) {
		p := bytes.Repeat([]byte("*"), 65536)
		for off := 0; off < len(p); off += 1300 {
			end, first := min(off+1300, len(p)), byte(0)
			if off == 0 {
				first = 1
			}
			if end == len(p) {
				first |= 0x80
			}
			r.send(first, p[off:end])
		}
		r.want(0x81, p)
		bye(r)
	})
}
