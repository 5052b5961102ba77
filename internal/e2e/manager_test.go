//go:build e2e && unix

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// admin connects to the manager port with a WebSocket library that the server does not use.
func (s *server) admin(host string) (*peer, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "ws://"+s.manager+"/", &websocket.DialOptions{Host: host})
	if err != nil {
		if resp == nil {
			s.t.Fatal(err)
		}
		return nil, resp.StatusCode
	}
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	return &peer{s.t, ws}, http.StatusSwitchingProtocols
}

// No command causes a stack trace in the response. Idle connections keep nobody out, and refused
// handshakes do not fill the log.
func TestManagerPort(t *testing.T) {
	s := start(t)
	dial(t, s.outside, s.token("wechatUser", "7"))
	c, _ := s.admin("")
	for _, numbers := range []string{
		`"offset":9223372036854775807,"limit":1`, `"offset":9223372036854774807`, `"offset":2147483647,"limit":2147483647`, `"offset":-1`, `"limit":-9223372036854775808`,
		`"offset":1e300`, `"limit":99999999999999999999`,
	} {
		c.send(`{"method":"connections","format":"json",` + numbers + `}`)
		if got := c.want(`{"ok":`); strings.Contains(got, "goroutine") || strings.Contains(got, ".go:") || strings.Contains(got, "panic") {
			t.Errorf("%s: %s", numbers, got)
		}
	}
	for range 40 {
		if _, status := s.admin(""); status != http.StatusSwitchingProtocols {
			t.Fatalf("an idle connection more: %d", status)
		}
	}
	if n := s.status().Connections; n != 1 {
		t.Errorf("status shows %d connections", n)
	}
	for i := range 100 {
		if _, status := s.admin(fmt.Sprintf("evil%d.example:20001", i)); status != http.StatusForbidden {
			t.Fatalf("a name that was made to point here: %d", status)
		}
	}
	lines := 0
	files, err := filepath.Glob(filepath.Join(s.dir, "logs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines += strings.Count(string(b), "admin connection refused")
	}
	if lines < 1 || lines > 3 { // a slow machine may take several minutes
		t.Errorf("%d lines about refused handshakes", lines)
	}
}
