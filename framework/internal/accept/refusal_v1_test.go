package accept

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// refused is what a client got that speaks wsframe.v1.
type refused struct {
	status   int
	protocol string
	rest     string        // what came after the head
	took     time.Duration // until the socket was closed, while the client only reads
}

// askV1 sends a handshake and reads until the server closes its side, but never closes itself.
func (s *running) askV1(address, path, extra string) (a refused) {
	s.t.Helper()
	client, server := connect(address)
	begin := time.Now()
	s.ln.conns <- server
	go func() { _, _ = io.WriteString(client, upgrade(path, extra)+"\x82\x80abcd a frame that nobody reads") }()
	br := bufio.NewReader(client)
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	a.status, a.protocol = r.StatusCode, r.Header.Get("Sec-WebSocket-Protocol")
	if a.status == http.StatusSwitchingProtocols && r.Header.Get("Sec-WebSocket-Accept") != "" {
		rest, err := io.ReadAll(br)
		if err != nil {
			s.t.Fatal(err)
		}
		a.rest = string(rest)
	}
	if len(s.opened) > 0 && a.rest == "" {
		_ = client.Close()
		return a
	}
	for !server.closed.Load() {
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
	a.took = time.Since(begin)
	_ = client.Close()
	return a
}

const v1 = "Sec-WebSocket-Protocol: wsframe.v1, wsframe.refused, "

// Who offers wsframe.v1, and nobody else, gets refusals by close code: no place, no longer than a
// second, and nothing that it sends is read as a frame.
func TestRefusedV1(t *testing.T) {
	change := func(c *Config) {
		c.ConnectionsPerIP = 1
		c.AllowNoOrigin = true
	}
	inTime(t, change, func(t *testing.T, s *running) {
		for _, tc := range []struct {
			path, extra string
			want        string
		}{
			{"/?auth=bad", v1 + "x\r\n", "101 wsframe.refused \x88\a\x111token"},
			{"/", v1 + "bad\r\n", "101 wsframe.refused \x88\a\x111token"},
			{"/", "Sec-WebSocket-Protocol: wsframe.v1\r\n", "101 wsframe.v1 \x88\a\x111token"},
			{good, v1 + "x\r\nOrigin: http://elsewhere\r\n", "101 wsframe.refused \x88\b\x113origin"},
			{"/?auth=bad", "Sec-WebSocket-Protocol: wsframe, x\r\n", "403  "},
			{"/?auth=bad", "Sec-WebSocket-Protocol: wsframe.refused, x\r\n", "403  "},
			{"/?auth=bad", "", "403  "},
		} {
			a := s.askV1(near, tc.path, tc.extra)
			if got := fmt.Sprintf("%d %s %s", a.status, a.protocol, a.rest); got != tc.want {
				t.Errorf("%s %s: got %q, want %q", tc.path, tc.extra, got, tc.want)
			}
			if a.took > 1100*time.Millisecond {
				t.Errorf("%s: the socket was open for %v", tc.path, a.took)
			}
		}
		if n := s.admitted.Load(); n != 0 || len(s.opened) != 0 {
			t.Errorf("%d places are taken, %d connections were opened", n, len(s.opened))
		}
		if got := s.ask(near, upgrade("/", v1+"good\r\n")); got.status != 101 || s.last().Protocol != protocolV1 {
			t.Errorf("%+v %+v", got, s.last())
		}
	})
	inTime(t, change, func(t *testing.T, s *running) {
		s.ask(near, upgrade(good, "")) // the only place of the address
		client, server := connect(near)
		s.ln.conns <- server
		go func() { _, _ = io.WriteString(client, upgrade("/", v1+"good\r\n")) }()
		text, _ := io.ReadAll(client)
		if want := "\x88\x16\x11Mtoo many connections"; len(text) < len(want) || string(text[len(text)-len(want):]) != want {
			t.Errorf("got %q", text)
		}
		_ = client.Close()
	})
}

// The limits of refusals hold for those by close code too, and only so many sockets wait for their
// clients.
func TestRefusedV1HoldsNoSockets(t *testing.T) {
	inTime(t, func(c *Config) { c.RefusedRate = 2 }, func(t *testing.T, s *running) {
		for _, tc := range []struct {
			tokens float64
			status int
		}{{2, 101}, {1, 101}, {0, 403}} {
			s.addresses.of(near, time.Now()).tokens = tc.tokens
			if a := s.askV1(near, "/?auth=bad", v1+"x\r\n"); a.status != tc.status {
				t.Errorf("with %v full answers left: %d, want %d", tc.tokens, a.status, tc.status)
			}
		}
	})
	inTime(t, nil, func(t *testing.T, s *running) {
		s.refusing.Store(maxRefusing)
		if a := s.askV1(near, "/?auth=bad", v1+"x\r\n"); a.rest == "" || a.took > 100*time.Millisecond {
			t.Errorf("%+v", a)
		}
		s.refusing.Store(0)
	})
}
