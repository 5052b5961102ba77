package accept

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
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
	p := newPages(&Config{HandshakeTimeout: time.Second, Log: zap.NewNop()})
	p.close()
	p.close()
	client, server := connect(near)
	p.serve(server, nil)
	if !server.closed.Load() {
		t.Error("the socket stays open")
	}
	_ = client.Close()
}
