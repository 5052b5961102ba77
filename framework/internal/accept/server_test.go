package accept

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/auth"
)

// A client may send its first frame together with the handshake, and its time to do so is its own.
func TestOpen(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *running) {
		s.ask("2001:db8::1", upgrade("/x?auth=good&recover=r", "Sec-WebSocket-Protocol: wsframe, other\r\n")+"early")
		h := s.last()
		if h.Identity.ID != "7" || h.Remote != "2001:db8::1" || h.Protocol != "wsframe" || string(h.Early) != "early" || h.Request.URL.RawQuery != "auth=good&recover=r" {
			t.Errorf("%+v", h)
		}
		synctest.Wait()
		if h.Conn.(*duplex).hurried.Load() || s.Handshakes() != 0 {
			t.Errorf("the handshake is not over; %d are under way", s.Handshakes())
		}
	})
}

// An incomplete head is answered when its time is over, and the socket is closed
// (promise L1).
func TestSlowHead(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *running) {
		for _, sent := range []string{"", "GET / HTTP/1.1\r\nHost:"} {
			begin := time.Now()
			if a := s.ask(near, sent); a.status != 408 || time.Since(begin) != 10*time.Second {
				t.Errorf("%q: %d after %v", sent, a.status, time.Since(begin))
			}
		}
		// A client that does not read the answer is cut after a second.
		_, server := connect(near)
		s.ln.conns <- server
		time.Sleep(11*time.Second + time.Millisecond)
		synctest.Wait()
		if !server.closed.Load() {
			t.Error("who does not read keeps its socket")
		}
		// A client that has gone is not answered.
		client, gone := connect(near)
		s.ln.conns <- gone
		_ = client.Close()
		synctest.Wait()
		if !gone.closed.Load() || counted(s) != "408 the request head took too long: 3" {
			t.Error(counted(s))
		}
	})
}

// Limits of connections, in all and for each address (promise L9). A bad token takes no place.
func TestLimits(t *testing.T) {
	statuses := func(s *running, addresses ...string) (list []int) {
		for _, a := range addresses {
			list = append(list, s.ask(a, upgrade(good, "")).status)
		}
		return list
	}
	inTime(t, func(c *Config) { c.MaxConnections = 2 }, func(t *testing.T, s *running) {
		if got := fmt.Sprint(statuses(s, near, near, near, near)); got != "[101 101 503 503]" {
			t.Error(got)
		}
		if a := s.ask(near, upgrade("/?auth=bad", "")); a.status != 403 {
			t.Errorf("a bad token is answered %d", a.status)
		}
		if a := s.ask(near, upgrade(good, "")); a.header.Get("Retry-After") == "" {
			t.Error(a.header)
		}
		s.Release(near)
		if got := fmt.Sprint(statuses(s, near, near)); got != "[101 503]" {
			t.Error(got)
		}
		s.Reserve(near) // beyond the limit
		s.Release(near)
		if got := fmt.Sprint(statuses(s, near)); got != "[503]" {
			t.Error(got)
		}
	})
	inTime(t, func(c *Config) { c.ConnectionsPerIP = 1 }, func(t *testing.T, s *running) {
		if got := fmt.Sprint(statuses(s, near, near, "192.0.2.2", "2001:db8::1", "2001:db8::2")); got != "[101 403 101 101 403]" {
			t.Error(got)
		}
		s.Release("2001:db8::1")
		if got := fmt.Sprint(statuses(s, near, "2001:db8::3")); got != "[403 101]" {
			t.Error(got)
		}
	})
}

// Valid tokens are accepted whatever others at their address tried; only the answers to refusals
// are limited (promise L9).
func TestRefusedRate(t *testing.T) {
	inTime(t, func(c *Config) { c.RefusedRate = 2 }, func(t *testing.T, s *running) {
		full := func(address string, n int) (bodies int) {
			t.Helper()
			for range n {
				a := s.ask(address, upgrade("/?auth=bad", ""))
				if a.status != 403 || a.header.Get("message") != "error auth" {
					t.Fatal(a)
				}
				if a.body != "" {
					bodies++
				}
			}
			return bodies
		}
		for _, step := range []struct {
			address string
			wait    time.Duration
			bodies  int
		}{{near, 0, 2}, {near, 0, 0}, {"192.0.2.2", 0, 2}, {near, 500 * time.Millisecond, 1}, {near, time.Hour, 2}} {
			time.Sleep(step.wait)
			if n := full(step.address, 10); n != step.bodies {
				t.Errorf("%+v: %d answers in full", step, n)
			}
			if a := s.ask(step.address, upgrade(good, "")); a.status != 101 {
				t.Errorf("a valid token is answered %d", a.status)
			}
		}
		if a := s.ask(near, upgrade(good, "Content-Length: 1\r\n")); a.status != 400 || a.body == "" {
			t.Error("a handshake with a body is answered", a)
		}
	})
}

// Every refusal is counted by its reason, and a flood of them is one line of log for each and
// minute, which contains nothing that the client sent.
func TestRefusalsAreSeen(t *testing.T) {
	inTime(t, func(c *Config) { c.TrustedProxies = []string{near} }, func(t *testing.T, s *running) {
		round := func() {
			for range 30 {
				s.ask(near, upgrade("/?auth=SECRET", ""))
				s.ask(near, upgrade(good, "Origin: https://evil.example\r\n"))
				s.ask(near, strings.Replace(upgrade(good, ""), "Version: 13", "Version: 8", 1))
				s.ask(near, upgrade(good, "X-Real-IP: 1.2.3.4:\x85\r\n"))
			}
		}
		round()
		time.Sleep(time.Minute)
		round()
		if got, want := counted(s), "400 Sec-WebSocket-Version must be 13: 60; 403 origin: 60; 403 token: 60"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		lines, sums := map[string]int{}, map[string]int64{}
		for _, e := range s.logs.All() {
			lines[e.Message]++
			sums[e.Message] += e.ContextMap()["since_last"].(int64)
			if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "SECRET") || strings.Contains(text, "evil") || strings.Contains(text, "\x85") {
				t.Error(text)
			}
		}
		const unreadable = "the trusted header of a proxy holds no address: its clients count as one"
		if lines["handshake refused"] != 6 || sums["handshake refused"] != 3*31 || lines[unreadable] != 2 || sums[unreadable] != 31 {
			t.Errorf("%v %v", lines, sums)
		}
	})
}

// Errors of Authenticate and Open refuse the client: its place is released and the reason is
// counted.
func TestRefusedByOthers(t *testing.T) {
	cause := errors.New("CAUSE")
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"unavailable", func(c *Config) { c.Unavailable = func() string { return "cut off" } }, "503 cut off: 3"},
		{"Open's refusal", func(c *Config) { c.Open = func(*Handshake) error { return &Refusal{503, "no number", cause} } }, "503 no number: 3"},
		{"Open's error", func(c *Config) { c.Open = func(*Handshake) error { return cause } }, "503 it could not be opened: 3"},
		{"Authenticate's refusal", func(c *Config) {
			c.Authenticate = func(*Handshake) (id auth.Identity, err error) {
				return id, fmt.Errorf("asked: %w", &Refusal{503, "nobody to ask", cause})
			}
		}, "503 nobody to ask: 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := func(c *Config) { c.MaxConnections, c.ConnectionsPerIP = 1, 1; tc.change(c) }
			inTime(t, change, func(t *testing.T, s *running) {
				for range 3 {
					if a := s.ask(near, upgrade(good, "")); a.status != 503 || strings.Contains(a.body, "CAUSE") {
						t.Error(a)
					}
				}
				if got := counted(s); got != tc.want || s.admitted.Load() != 0 {
					t.Errorf("%s, %d places are taken", got, s.admitted.Load())
				}
			})
		})
	}
}

// A panic ends its own client only.
func TestPanic(t *testing.T) {
	check := func(h *Handshake) (id auth.Identity, err error) {
		if h.Token == "panic" {
			panic("in Authenticate")
		}
		return id, nil
	}
	inTime(t, func(c *Config) { c.Authenticate = check }, func(t *testing.T, s *running) {
		client, server := connect(near)
		s.ln.conns <- server
		if _, err := io.WriteString(client, upgrade("/?auth=panic", "")); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(client); len(b) > 0 || err != nil {
			t.Errorf("%q %v", b, err)
		}
		if a := s.ask(near, upgrade(good, "")); a.status != 101 || s.logs.FilterMessage("panic in the handshake").Len() != 1 {
			t.Error(a, s.logs.All())
		}
	})
}

// A stop does not wait for clients whose request is incomplete or which do not read their refusal.
func TestStop(t *testing.T) {
	inTime(t, func(c *Config) { c.HandshakeTimeout = time.Hour }, func(t *testing.T, s *running) {
		var sockets []*duplex
		for _, sent := range []string{"", "GET / HTTP/1.1\r\nHost:", upgrade("/", "")} {
			client, server := connect(near)
			s.ln.conns <- server
			sockets = append(sockets, server)
			if _, err := io.WriteString(client, sent); err != nil {
				t.Fatal(err)
			}
		}
		page, slow := connect(near)
		s.ln.conns <- slow
		// The client does not read its page.
		if _, err := io.WriteString(page, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.Handshakes(); n != 3 {
			t.Errorf("%d handshakes are under way", n)
		}
		begin := time.Now()
		s.Stop()
		if d := time.Since(begin); d > time.Second {
			t.Errorf("the listeners wait for clients, %v", d)
		}
		for i, c := range sockets {
			if !c.closed.Load() {
				t.Errorf("socket %d stays open", i)
			}
		}
		late := newListener()
		if err := s.Serve(late); err != nil {
			t.Error(err)
		}
		<-late.closed
		s.Close(t.Context())
		synctest.Wait()
		if !slow.closed.Load() {
			t.Error("a page that nobody reads stays open")
		}
	})
}

// A paused Server accepts no connection, and loses none.
func TestPause(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *running) {
		for range 2 {
			s.Pause()
			s.Pause()
			synctest.Wait()
			select {
			case s.ln.conns <- nil:
				t.Fatal("accepted while paused")
			default:
			}
			time.AfterFunc(time.Minute, s.Resume)
			begin := time.Now()
			if a := s.ask(near, upgrade(good, "")); a.status != 101 || time.Since(begin) != time.Minute {
				t.Errorf("%d after %v", a.status, time.Since(begin))
			}
			s.Resume()
		}
		s.Pause() // ended by a stop
	})
}

// Without descriptors the Server does not spin, logs a line a second, and recovers by itself
// (promise L8).
func TestAcceptFails(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *running) {
		begin, tries := time.Now(), 0
		for time.Since(begin) < 10*time.Second {
			s.ln.conns <- errors.New("too many open files")
			tries++
		}
		if lines := s.logs.FilterMessage("accept").Len(); lines < 5 || lines > 11 || tries > 60 {
			t.Errorf("%d lines, %d tries", lines, tries)
		}
		if a := s.ask(near, upgrade(good, "")); a.status != 101 {
			t.Error(a)
		}
	})
}

// A listener whose sockets cannot be closed in one direction is refused.
func TestOtherSockets(t *testing.T) {
	s, err := New(Config{Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ln := newListener()
	here, there := net.Pipe()
	go func() { ln.conns <- there }()
	if err := s.Serve(ln); err == nil {
		t.Error("a pipe is served")
	}
	if _, err := here.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	s.Stop()
	s.Close(t.Context())
}

// A listener may have a Policy of its own. The limits count all listeners together.
func TestPolicy(t *testing.T) {
	inTime(t, func(cfg *Config) { cfg.MaxConnections = 2 }, func(t *testing.T, s *running) {
		foreign := &running{t: t, ln: newListener()}
		var heads []string
		served := make(chan error, 1)
		go func() {
			served <- s.ServeAs(foreign.ln, Policy{
				Origins: []string{"https://a.example"}, NoPages: true,
				Authenticate: func(*Handshake) (auth.Identity, error) { return auth.Identity{}, nil },
				Unavailable:  func() string { return "" },
				Open: func(h *Handshake) error {
					heads = append(heads, string(h.Head))
					_, err := io.WriteString(h.Conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
					return err
				},
			})
		}()
		request := upgrade("/x", "Origin: https://a.example\r\nX-B: 2\r\nX-A: 1\r\n")
		for _, tc := range []struct {
			request string
			status  int
		}{
			{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400}, {upgrade("/x", ""), 403}, {upgrade("/x", "Origin: https://b.example\r\n"), 403}, {request, 101},
		} {
			if a := foreign.ask(near, tc.request); a.status != tc.status {
				t.Errorf("%q: %d, want %d", tc.request, a.status, tc.status)
			}
		}
		if len(heads) != 1 || heads[0] != request {
			t.Errorf("%q", heads)
		}
		if a := s.ask(near, upgrade("/x?auth=good", "")); a.status != 101 {
			t.Error(a.status)
		}
		if a := foreign.ask(near, request); a.status != 503 {
			t.Error(a.status)
		}
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
