package push

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// link is a connection that stays open after a request.
type link struct {
	net.Conn
	r *bufio.Reader
}

func (h *host) dial() *link {
	h.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &link{c, bufio.NewReader(c)}
}

// keep sets the number of connections that the server keeps.
func (h *host) keep(n int) {
	h.conns.mu.Lock()
	defer h.conns.mu.Unlock()
	h.conns.max = n
}

// ask makes a request and returns the response's status; 0 = the connection has ended.
func (l *link) ask(t *testing.T, path, header string) int {
	t.Helper()
	if _, err := io.WriteString(l, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n"); err != nil {
		return 0
	}
	res, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

// Connections that hold all places, be they idle, silent or in the middle of a request, are closed
// for a caller. An earlier caller keeps its own.
func TestConnsGiveWay(t *testing.T) {
	const token = "Authorization: Bearer all-00123456789ab\r\n"
	h := serve(t, Config{Tokens: []Token{{"all-00123456789ab", nil}}})
	h.keep(20)
	caller := h.dial()
	if status := caller.ask(t, "/openapi.json", token); status != 200 {
		t.Fatal(status)
	}
	for i := range 60 {
		switch l := h.dial(); i % 3 {
		case 0:
			_ = l.ask(t, "/healthz", "")
		case 1:
			_, _ = io.WriteString(l, "GET / HT")
		}
	}
	until(t, "all are counted", func() bool { open, gone := h.conns.count(); return open == 20 && gone == 41 })
	if status := h.dial().ask(t, "/openapi.json", token); status != 200 {
		t.Errorf("a new caller got %d", status)
	}
	if status := caller.ask(t, "/openapi.json", token); status != 200 {
		t.Errorf("the caller who was there got %d", status)
	}
	// Where all connections are callers', one more is accepted, too.
	for range 30 {
		if status := h.dial().ask(t, "/openapi.json", token); status != 200 {
			t.Fatal(status)
		}
	}
	if open, _ := h.conns.count(); open > 20 {
		t.Errorf("%d are open", open)
	}
}

// A connection whose request is served is not closed for others.
func TestConnsServed(t *testing.T) {
	h := serve(t, Config{})
	h.keep(2)
	h.backend.hold = make(chan struct{})
	said := make(chan string, 1)
	go func() { _, text := h.post("kick", `{"fd":1}`); said <- text }()
	until(t, "it is under way", func() bool { return h.gate.busy() })
	for range 5 {
		h.dial()
	}
	until(t, "others gave way", func() bool { _, gone := h.conns.count(); return gone == 4 })
	close(h.backend.hold)
	if text := <-said; !strings.Contains(text, `"result"`) {
		t.Error(text)
	}
}

// Wrong tokens are counted, logged once a minute and limited, and keep no right one out.
func TestRefusals(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	h := serve(t, Config{RefusedRate: 5, Log: zap.New(core), Metrics: func(io.Writer) error { return nil }, Tokens: []Token{{"all-00123456789ab", nil}}})
	got := map[int]int{}
	for range 40 {
		status, _, _ := h.do("GET", "/?type=publish&content=x", "", "Authorization: Bearer wrong-0123456789")
		got[status]++
	}
	if got[401] < 5 || got[429] == 0 || got[401]+got[429] != 40 {
		t.Error(got)
	}
	l := h.dial()
	if first, second := l.ask(t, "/metrics", ""), l.ask(t, "/metrics", ""); first == 0 || second != 0 {
		t.Errorf("a refused connection goes on: %d, %d", first, second)
	}
	h.want(200, `"result"`)(h.post("counts", `{}`, "Authorization: Bearer all-00123456789ab"))
	if stats := h.Stats(); stats.Refused[CodeUnauthorized] != 41 || stats.Refused[CodeForbidden] != 0 || stats.Connections == 0 {
		t.Errorf("%+v", stats)
	}
	if n := logged.Len(); n != 1 {
		t.Errorf("%d lines were logged", n)
	}
	r := newRefusals(1, zap.NewNop())
	for _, peer := range []string{"[2001:db8::1]:5", "[2001:db8::2]:5", "[2001:db8:0:1::1]:5", "1.2.3.4:5", "1.2.3.5:5", "[::ffff:1.2.3.4]:5"} {
		r.of(peer)
	}
	if len(r.addresses) != 4 {
		t.Errorf("%v", r.addresses)
	}
}
