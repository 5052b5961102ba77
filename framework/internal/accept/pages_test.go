package accept

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// The front page links to the demo if there is one.
func TestPages(t *testing.T) {
	for _, static := range []fs.FS{nil, fstest.MapFS{"index.html": {Data: []byte("the demo")}}} {
		inTime(t, func(c *Config) { c.Static = static }, func(t *testing.T, s *running) {
			for _, path := range []string{"/", "/any/path", "/static/", "/static/wsframe.js"} {
				a := s.ask(near, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
				if !a.closed {
					t.Errorf("%s: the connection is kept, and an upgrade on it would be another page", path)
				}
				status, part := 200, "wsframe"
				switch {
				case path == "/static/" && static != nil:
					part = "the demo"
				case strings.HasPrefix(path, "/static/"):
					status, part = 404, "not found"
				case static != nil:
					part = "Demo"
				}
				if a.status != status || !strings.Contains(a.body, part) || static == nil && strings.Contains(a.body, "Demo") {
					t.Errorf("%s with static files %v: %d %s", path, static != nil, a.status, a.body)
				}
			}
			if n := len(s.Refused()); n > 0 {
				t.Errorf("%d refusals", n)
			}
		})
	}
}

// Requests after Close are closed, and Close also ends a server that has served no page.
func TestPagesEnd(t *testing.T) {
	p, err := newPages(&Config{HandshakeTimeout: time.Second, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	p.close(t.Context())
	p.close(t.Context())
	client, server := connect(near)
	p.serve(server, &door{}, nil)
	if !server.closed.Load() {
		t.Error("the socket stays open")
	}
	_ = client.Close()
}

// A door with Pages: its handler answers everything that is no handshake, keeps connections, and
// gives up a handshake that comes on a kept one.
func TestPolicyPages(t *testing.T) {
	inTime(t, func(c *Config) { c.TrustedProxies = []string{near}; c.ConnectionsPerIP = 1; c.MaxConnections = 3 }, func(t *testing.T, s *running) {
		ln := newListener()
		served := make(chan error, 1)
		var sessions []*Handshake
		p := Policy{
			AllowNoOrigin: true, Authenticate: s.cfg.Authenticate, Unavailable: s.cfg.Unavailable, Open: s.cfg.Open,
			Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/session":
					h, ok := Admit(w, r)
					if !ok {
						return
					}
					sessions = append(sessions, h)
				case "/slow":
					time.Sleep(time.Hour)
				}
				b, err := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%s %s %d %v", r.RemoteAddr, r.URL, len(b), err != nil)
			}),
		}
		go func() { served <- s.ServeAs(ln, p) }()
		client, server := connect(near)
		ln.conns <- server
		br := bufio.NewReader(client)
		ask := func(request string) (int, string) {
			t.Helper()
			go func() { _, _ = io.WriteString(client, request) }()
			r, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%.40q: %v", request, err)
			}
			if r.StatusCode == http.StatusSwitchingProtocols {
				return r.StatusCode, ""
			}
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return r.StatusCode, string(b)
		}
		request := func(line, header, body string) (int, string) {
			t.Helper()
			return ask(line + " HTTP/1.1\r\nHost: x\r\nX-Real-IP: 198.51.100.7\r\n" + header + "\r\n" + body)
		}
		for _, tc := range []struct {
			line, header, body string
			status             int
			want               string
		}{
			{"GET /a?b=c", "", "", 200, "198.51.100.7:4711 /a?b=c 0 false"},
			{"POST /p", "Content-Length: 5\r\n", "12345", 200, "198.51.100.7:4711 /p 5 false"},
			{"GET /slow", "", "", 200, "198.51.100.7:4711 /slow 0 false"}, // a long poll
			{"GET /session", "", "", 403, forbiddenBody},                  // no token
			{"GET /session?auth=bad", "", "", 403, forbiddenBody},
			{"GET /session?auth=good", "Origin: http://y\r\n", "", 403, forbiddenBody},
			{"GET /session?auth=good", "", "", 200, "198.51.100.7:4711 /session?auth=good 0 false"},
			{"GET /session?auth=good", "", "", 403, forbiddenBody}, // connections_per_ip
		} {
			if status, got := request(tc.line, tc.header, tc.body); status != tc.status || got != tc.want {
				t.Errorf("%s: %d %q, want %d %q", tc.line, status, got, tc.status, tc.want)
			}
		}
		if len(sessions) != 1 || sessions[0].Identity.ID != "7" || sessions[0].Remote != "198.51.100.7" || s.admitted.Load() != 1 {
			t.Errorf("%+v, admitted %d", sessions, s.admitted.Load())
		}
		s.Release(sessions[0].Remote)
		if got := counted(s); got != "403 connections of one address: 1; 403 origin: 1; 403 token: 2" {
			t.Error(got)
		}
		if status, _ := ask("GET /up?auth=good HTTP/1.1\r\nX-Real-IP: 198.51.100.7\r\n" + upgradeHeaders + "\r\nearly"); status != 101 {
			t.Errorf("a handshake on a kept connection is answered %d", status)
		}
		if h := s.last(); h.Remote != "198.51.100.7" || string(h.Early) != "early" || h.Request.RequestURI != "/up?auth=good" || h.Conn != Conn(server) || server.hurried.Load() {
			t.Errorf("%+v", h)
		}
		synctest.Wait()
		if n := s.pages.open.Load(); n != 0 {
			t.Errorf("%d connections of pages", n)
		}
		_, _ = client.Close(), server.Close()
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// Who sends nothing of a body, takes nothing of a response or sends no next request is cut.
func TestPagesAreBounded(t *testing.T) {
	inTime(t, func(c *Config) { c.MaxConnections = 1 }, func(t *testing.T, s *running) {
		ln := newListener()
		served := make(chan error, 1)
		go func() {
			served <- s.ServeAs(ln, Policy{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/read" {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				_, _ = w.Write(make([]byte, 1<<20))
			})})
		}()
		for _, tc := range []struct {
			request string
			takes   bool
			after   time.Duration
		}{
			{"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1", true, 10 * time.Second},
			{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1", true, 10 * time.Second},
			{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, 10 * time.Second},
			{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true, 60 * time.Second},
			{"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /", true, 10 * time.Second}, // half a head
		} {
			client, server := connect(near)
			ln.conns <- server
			begin := time.Now()
			go func() { _, _ = io.WriteString(client, tc.request) }()
			if tc.takes {
				go func() { _, _ = io.Copy(io.Discard, client) }()
			}
			synctest.Wait()
			if a, other := connect(near); true { // more than max_connections
				ln.conns <- other
				go func() { _, _ = io.WriteString(a, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
				r, err := http.ReadResponse(bufio.NewReader(a), nil)
				if err != nil || r.StatusCode != 503 {
					t.Errorf("beyond the limit: %v %v", r, err)
				}
				_ = a.Close()
			}
			time.Sleep(tc.after - time.Since(begin) - time.Millisecond)
			synctest.Wait()
			early := server.closed.Load()
			time.Sleep(2*time.Second + time.Millisecond)
			synctest.Wait()
			if early || !server.closed.Load() || s.pages.open.Load() != 0 {
				t.Errorf("%q: closed early %v, at last %v", tc.request, early, server.closed.Load())
			}
			_ = client.Close()
		}
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// Kept connections end with a pause, at which another worker takes over.
func TestPagesPause(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *running) {
		ln := newListener()
		served := make(chan error, 1)
		ended := make(chan struct{})
		go func() {
			served <- s.ServeAs(ln, Policy{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					<-ended
				}
				_, _ = io.WriteString(w, "ok")
			})})
		}()
		client, server := connect(near)
		ln.conns <- server
		go func() { _, _ = io.WriteString(client, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") }()
		synctest.Wait()
		s.Pause()
		close(ended)
		r, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || !r.Close {
			t.Errorf("%v %v", r, err)
		}
		_ = client.Close()
		s.Resume()
		client, server = connect(near)
		ln.conns <- server
		go func() { _, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
		if r, err = http.ReadResponse(bufio.NewReader(client), nil); err != nil || r.Close {
			t.Errorf("%v %v", r, err)
		}
		_, _ = io.ReadAll(r.Body)
		synctest.Wait()
		s.Stop()
		synctest.Wait()
		if !server.closed.Load() {
			t.Error("a waiting connection stays open after a stop")
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// The application's pages are beside the built-in ones, and bounded.
func TestOwnPages(t *testing.T) {
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "own %s %d %v", r.URL.Path, len(b), err)
	})
	inTime(t, func(c *Config) {
		c.Static = fstest.MapFS{"index.html": {Data: []byte("the demo")}}
		c.Pages = []Page{{"/api/", show, 10}, {"/health", show, 0}}
	}, func(t *testing.T, s *running) {
		for _, tc := range []struct {
			line   string
			body   string
			status int
			part   string
		}{
			{"GET /api/x", "", 200, "own /api/x 0"},
			{"DELETE /api/", "", 200, "own /api/ 0"},
			{"POST /api/x", "0123456789", 200, "own /api/x 10 <nil>"},
			{"POST /api/x", "01234567890", 200, "own /api/x 10 http: request body too large"},
			{"GET /api/../api/y", "", 307, ""},
			{"GET /api", "", 307, "/api/"},
			{"GET /health", "", 200, "own /health 0"},
			{"GET /health/x", "", 200, "wsframe"},
			{"GET /static/", "", 200, "the demo"},
			{"GET /", "", 200, "wsframe"},
			{"POST /", "", 405, ""},
		} {
			a := s.ask(near, fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", tc.line, len(tc.body), tc.body))
			if a.status != tc.status && !(tc.status == 307 && a.status == 301) || !strings.Contains(a.body, tc.part) {
				t.Errorf("%s: %d %q, want %d %q", tc.line, a.status, a.body, tc.status, tc.part)
			}
		}
	})
	for _, tc := range []struct {
		pages []Page
		part  string
	}{
		{[]Page{{"/a", show, 0}, {"/a", show, 0}}, "twice"},
		{[]Page{{"/a", nil, 0}}, "nil"},
		{[]Page{{"/", show, 0}}, "server's own"},
		{[]Page{{"/static", show, 0}}, "server's own"},
		{[]Page{{"/static/x", show, 0}}, "server's own"},
		{[]Page{{"a", show, 0}}, "must be a path"},
		{[]Page{{"", show, 0}}, "must be a path"},
		{[]Page{{"GET /a", show, 0}}, "must be a path"},
		{[]Page{{"example.com/a", show, 0}}, "must be a path"},
		{[]Page{{"/a/{id}", show, 0}}, "must be a path"},
		{[]Page{{"/a/../static/", show, 0}}, "must be a path"},
		{[]Page{{"//static/", show, 0}}, "must be a path"},
		{[]Page{{"/%73tatic/", show, 0}}, "must be a path"},
	} {
		if _, err := New(Config{Pages: tc.pages, Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), tc.part) {
			t.Errorf("%q: %v, want %s", tc.pages[0].Path, err, tc.part)
		}
	}
}

// A stop lets requests finish, and cuts those that do not in time.
func TestPagesDrain(t *testing.T) {
	for _, takes := range []time.Duration{3 * time.Second, time.Minute} {
		inTime(t, func(c *Config) {
			c.Drain = 5 * time.Second
			c.Pages = []Page{{"/slow", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(takes):
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(w, "done")
			}), 0}}
		}, func(t *testing.T, s *running) {
			client, server := connect(near)
			s.ln.conns <- server
			go func() { _, _ = io.WriteString(client, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") }()
			synctest.Wait()
			begin := time.Now()
			answered := make(chan bool)
			go func() {
				r, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err == nil {
					_, err = io.ReadAll(r.Body)
				}
				answered <- err == nil
			}()
			s.Stop()
			go s.Close(t.Context())
			if ok := <-answered; ok != (takes < s.cfg.Drain) || time.Since(begin) > 6*time.Second {
				t.Errorf("a request of %v: answered %v, after %v", takes, ok, time.Since(begin))
			}
			_ = client.Close()
		})
	}
}
