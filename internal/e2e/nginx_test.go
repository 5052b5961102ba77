//go:build e2e

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wsframe/internal/testserver"
)

// behindNginx starts nginx with nginx.conf.example in front of the server. changes replaces further
// parts of the file; logs returns the logs of nginx.
func behindNginx(t *testing.T, s *server, changes ...string) (front string, logs func() string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "nginx.conf.example"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := testserver.StartNginx(t, func(addr string) string {
		site := string(b)
		changes := append(changes, "127.0.0.1:20000", s.outside, "listen 80;", "listen "+addr+";", "/var/log/nginx/", dir+"/")
		for i := 0; i < len(changes); i += 2 {
			if !strings.Contains(site, changes[i]) {
				t.Fatalf("nginx.conf.example has no %q", changes[i])
			}
			site = strings.ReplaceAll(site, changes[i], changes[i+1])
		}
		return site
	})
	return n.Addr, func() string {
		var all strings.Builder
		for _, name := range []string{"wsframe.log", "wsframe.error.log"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		return all.String()
	}
}

// elsewhere returns options of a client with another address than nginx's, which claims a third
// one.
func elsewhere() *websocket.DialOptions {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: wait}
	return &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}},
		HTTPHeader: http.Header{"X-Real-Ip": {"192.0.2.1"}, "X-Forwarded-For": {"192.0.2.2"}},
	}
}

func dialAs(t *testing.T, url string, o *websocket.DialOptions) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &peer{t, ws}
}

// Behind nginx (contract §7), tokens work as query and as subprotocol, the client's address is the
// one that nginx saw, and no log contains a token.
func TestNginx(t *testing.T) {
	s := start(t, "WSFRAME_APP_TRUSTED_PROXIES=127.0.0.1", "WSFRAME_APP_LOG_LEVEL=debug")
	front, logs := behindNginx(t, s)
	token := s.token("wechatUser", "u1")

	p := dialAs(t, "ws://"+front+"/any/path?auth="+token, elsewhere())
	p.send(`{"method":"live.user.join"}`)
	p.want("userJoinSuccess")
	offered := elsewhere()
	offered.Subprotocols = []string{"wsframe", token}
	q := dialAs(t, "ws://"+front+"/", offered)
	if got := q.ws.Subprotocol(); got != "wsframe" {
		t.Errorf("the subprotocol chosen is %q: the token must not come back", got)
	}
	q.send("2")
	q.want("3")
	if out := s.ok("-s", "connections"); strings.Count(out, "127.0.0.2") != 2 || strings.Contains(out, "192.0.2.") {
		t.Errorf("the clients' addresses:\n%s", out)
	}

	forged := token[:len(token)-4] + "AAAA"
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if _, r, err := websocket.Dial(ctx, "ws://"+front+"/?auth="+forged, elsewhere()); err == nil || r == nil || r.StatusCode != http.StatusForbidden {
		t.Errorf("a forged token: %v %v", r, err)
	}
	until(t, "the refusal is logged", func() bool { return strings.Contains(s.log(), "handshake refused") })
	if !strings.Contains(s.log(), `127.0.0.2`) || strings.Contains(s.log(), "192.0.2.") {
		t.Errorf("the refused client's address:\n%s", s.log())
	}

	client := &http.Client{Timeout: wait, Transport: &http.Transport{DisableKeepAlives: true}}
	for path, part := range map[string]string{"/": "wsframe", "/static/wall.html": "wall.js", "/static/wsframe.js": "WebSocket"} {
		r, err := client.Get("http://" + front + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(b), part) {
			t.Errorf("%s: %s %v", path, r.Status, err)
		}
	}

	s.ok("-s", "stop")
	p.wantClose(1001)
	q.wantClose(1001)
	// Without a server, the errors of nginx must not contain the token either.
	if _, r, err := websocket.Dial(ctx, "ws://"+front+"/?auth="+token, nil); err == nil || r == nil || r.StatusCode != http.StatusBadGateway {
		t.Errorf("without a server: %v %v", r, err)
	}
	until(t, "nginx has logged", func() bool { return strings.Contains(logs(), `"GET /" 502`) })
	for name, text := range map[string]string{"nginx's log": logs(), "the server's log": s.log()} {
		if strings.Contains(text, token) || strings.Contains(text, forged) || strings.Contains(text, "auth=w1.") {
			t.Errorf("a token is in %s:\n%s", name, text)
		}
	}
	if !strings.Contains(logs(), `"GET /any/path" 101`) {
		t.Errorf("nginx's log:\n%s", logs())
	}
}

// Without trusted_proxies, X-Real-IP is never trusted.
func TestNginxNotTrusted(t *testing.T) {
	s := start(t)
	front, _ := behindNginx(t, s)
	p := dialAs(t, "ws://"+front+"/?auth="+s.token("wall", "w1"), elsewhere())
	p.send("2")
	p.want("3")
	if out := s.ok("-s", "connections"); !strings.Contains(out, "127.0.0.1") || strings.Contains(out, "127.0.0.2") || strings.Contains(out, "192.0.2.") {
		t.Errorf("the client's address:\n%s", out)
	}
}

// A silent client stays connected, because the server's pings come before nginx's timeouts.
func TestNginxSilentClient(t *testing.T) {
	s := start(t, "WSFRAME_APP_HEARTBEAT_PING=1s", "WSFRAME_APP_HEARTBEAT_IDLE=10s")
	front, _ := behindNginx(t, s, "75s;", "2s;")
	p := dialAs(t, "ws://"+front+"/?auth="+s.token("wall", "w1"), nil)
	ctx, cancel := context.WithTimeout(context.Background(), 3500*time.Millisecond)
	defer cancel()
	if _, _, err := p.ws.Read(ctx); ctx.Err() == nil { // the library answers pings
		t.Fatalf("the connection has ended: %v", err)
	}
}
