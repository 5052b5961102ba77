package framework_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// quick answers at once, as most actions of a page do.
type quick struct{}

type quickIn struct {
	Room string `json:"room"`
	Say  string `json:"say"`
}

func (quick) Index(*framework.Ctx) (*framework.Reply, error) { return framework.OK("index", ""), nil }

func (quick) Say(_ *framework.Ctx, in *quickIn) (*framework.Reply, error) {
	return framework.OK(in.Room, in.Say), nil
}

// Out returns a typed reply.
func (quick) Out(_ *framework.Ctx, in *quickIn) (*quickOut, error) {
	return &quickOut{in.Room}, nil
}

type quickOut struct {
	Room string `json:"room"`
}

// exchange is one connection that sends a frame and reads its reply without allocating.
type exchange struct {
	nc         net.Conn
	out, in    []byte
	wantPrefix string
}

func newExchange(t testing.TB, text, reply string) *exchange {
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("index", &quick{})}, nil
	}, frameworktest.Config(func(c *config.App) { c.Auth.Check, c.Limits.MessageRate = false, 0 }))
	nc, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(h.URL, "ws://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || br.Buffered() > 0 {
		t.Fatal(resp, err)
	}
	out := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // a mask of zeros
	return &exchange{nc: nc, out: out, in: make([]byte, 2+len(reply)), wantPrefix: reply}
}

func (e *exchange) once(t testing.TB) {
	_, err := e.nc.Write(e.out)
	if err == nil {
		_, err = io.ReadFull(e.nc, e.in)
	}
	if err != nil || string(e.in[2:]) != e.wantPrefix {
		t.Fatalf("%s, %v", e.in, err)
	}
}

var exchanges = []struct {
	name, text, reply string
	allocations       float64
}{
	{"index", `{"method":"index.index.index"}`, `{"status":200,"event":"index","info":""}`, 3},
	{"typed", `{"method":"index.index.say","room":"lobby","say":"hello"}`, `{"status":200,"event":"lobby","info":"hello"}`, 6},
	{"out", `{"method":"index.index.out","room":"lobby"}`, `{"status":200,"event":"outSuccess","info":"","param":{"room":"lobby"}}`, 7},
}

func BenchmarkRequest(b *testing.B) {
	for _, e := range exchanges {
		b.Run(e.name, func(b *testing.B) {
			x := newExchange(b, e.text, e.reply)
			b.ReportAllocs()
			for b.Loop() {
				x.once(b)
			}
		})
	}
}
