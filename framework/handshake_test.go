package framework_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// shake sends a raw request and returns the answer; the connection is left open.
func shake(t *testing.T, h *frameworktest.Harness, request string) (*http.Response, net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(h.URL, "ws://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(frameworktest.Timeout))
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("no answer to %.60q: %v", request, err)
	}
	return resp, nc, br
}

const upgradeHeaders = "Host: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func upgrade(path, extra string) string {
	return "GET " + path + " HTTP/1.1\r\n" + upgradeHeaders + extra + "\r\n"
}

func issue(t *testing.T, h *frameworktest.Harness) string {
	t.Helper()
	token, err := h.Tokens.Issue(someone)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// contract §1: who is let in, and what the others are told; all refusals look alike.
func TestHandshake(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) { c.Limits.RefusedRate = 0; c.Origins = []string{"https://good.example"} }))
	token := issue(t, h)
	before := fdSeen(h.Dial(someone))
	expired, err := h.Tokens.Issue(framework.Identity{ID: "7", Type: "wall", CTime: time.Now().Add(-48 * time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	future, err := h.Tokens.Issue(framework.Identity{ID: "7", Type: "wall", CTime: time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	without := func(header string) string {
		var lines []string
		for line := range strings.SplitSeq(upgrade("/?auth="+token, ""), "\r\n") {
			if !strings.HasPrefix(line, header) {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\r\n")
	}
	for _, tc := range []struct {
		name, request string
		status        int
	}{
		{"good", upgrade("/?auth="+token, ""), 101},
		{"any path, other keys", upgrade("/a/b?x=1&auth="+token+"&y=2", ""), 101},
		{"as subprotocol", upgrade("/", "Sec-WebSocket-Protocol: "+token+"\r\n"), 101},
		{"as second subprotocol", upgrade("/", "Sec-WebSocket-Protocol: wsframe, "+token+"\r\n"), 101},
		{"listed origin", upgrade("/?auth="+token, "Origin: https://good.example\r\n"), 101},
		{"other origin", upgrade("/?auth="+token, "Origin: https://bad.example\r\n"), 403},
		{"null origin", upgrade("/?auth="+token, "Origin: null\r\n"), 403},
		{"no token", upgrade("/", ""), 403},
		{"forged", upgrade("/?auth=w1.AAAA", ""), 403},
		{"truncated", upgrade("/?auth="+token[:len(token)-2], ""), 403},
		{"expired", upgrade("/?auth="+expired, ""), 403},
		{"future", upgrade("/?auth="+future, ""), 403},
		{"original's form, not accepted", upgrade("/?auth=838LGHFbQQzi4lKUzcgvPQCHd3i5DoZcuRIofjgzzkiF8Og3NgZTi3O*7i6NGRrhci91qY2L19dlkhu80hrXyECI4c*X1CDv", ""), 403},
		{"no key", without("Sec-WebSocket-Key"), 400},
		{"short key", strings.Replace(upgrade("/?auth="+token, ""), "dGhlIHNhbXBsZSBub25jZQ==", "eA==", 1), 400},
		{"no version", without("Sec-WebSocket-Version"), 400},
		{"old version", strings.Replace(upgrade("/?auth="+token, ""), "Version: 13", "Version: 8", 1), 400},
		{"no connection header", without("Connection"), 400},
		{"POST", strings.Replace(upgrade("/?auth="+token, ""), "GET", "POST", 1), 400},
		{"HTTP/1.0", strings.Replace(upgrade("/?auth="+token, ""), "HTTP/1.1", "HTTP/1.0", 1), 400},
		{"not HTTP", "\x16\x03\x01\x02\x00", 400},
		{"half HTTP", "GET / HTTP/9\r\n\r\n", 400},
		{"too long a head", "GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 9000), 431},
		{"a body", upgrade("/?auth="+token, "Content-Length: 7\r\n") + "\x81\x81\x00\x00\x00\x002", 400},
		{"a body that is still to come", upgrade("/?auth="+token, "Content-Length: 7\r\n"), 400},
		{"an empty body", upgrade("/?auth="+token, "Content-Length: 0\r\n"), 101},
		{"two lengths", upgrade("/?auth="+token, "Content-Length: 0\r\nContent-Length: 1\r\n"), 400},
		{"chunked", upgrade("/?auth="+token, "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400},
		{"chunked with a length", upgrade("/?auth="+token, "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), 400},
		{"unknown coding", upgrade("/?auth="+token, "Transfer-Encoding: x\r\n"), 400},
		{"space before a colon", upgrade("/?auth="+token, "Header : x\r\n"), 400},
		{"tab before a colon", upgrade("/?auth="+token, "Header\t: x\r\n"), 400},
		{"space before Upgrade's colon", strings.Replace(upgrade("/?auth="+token, ""), "Upgrade:", "Upgrade :", 1), 400},
		{"folded header", upgrade("/?auth="+token, "Header: x\r\n y\r\n"), 400},
		{"no colon", upgrade("/?auth="+token, "Header\r\n"), 400},
		{"no name", upgrade("/?auth="+token, ": x\r\n"), 400},
		{"control byte in a value", upgrade("/?auth="+token, "Header: \x01\r\n"), 400},
		{"bare LF", upgrade("/?auth="+token, "A: b\nC: d\r\n"), 400},
		{"bare blank line", upgrade("/?auth="+token, "A: b\n\nC: d\r\n"), 400},
		{"two hosts", upgrade("/?auth="+token, "Host: y\r\n"), 400},
		{"no host", without("Host"), 400},
		{"two keys", upgrade("/?auth="+token, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400},
		{"websocket among others", strings.Replace(upgrade("/?auth="+token, ""), "Upgrade: websocket", "Upgrade: h2c, WebSocket", 1), 101},
		{"upgrade to HTTP/2", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n\r\n", 200},
		{"another upgrade", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2, websockets\r\n\r\n", 200},
		{"a key without an upgrade", without("Upgrade"), 200},
		{"plain page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"no file beside static", "GET /static/../console.go HTTP/1.1\r\nHost: x\r\n\r\n", 307},
		{"plain POST", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, _, br := shake(t, h, tc.request)
			if resp.StatusCode != tc.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, tc.status)
			}
			switch tc.status {
			case 101:
				if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
					t.Fatalf("accept %q", got)
				}
				if strings.Contains(tc.request, "wsframe,") != (resp.Header.Get("Sec-WebSocket-Protocol") == "wsframe") {
					t.Fatalf("protocol %q", resp.Header.Get("Sec-WebSocket-Protocol"))
				}
			case 403:
				body, _ := io.ReadAll(resp.Body)
				if resp.Header.Get("message") != "error auth" || string(body) != `{"status":403,"info":"用户权限不足","event":"authError"}` {
					t.Fatalf("%v %s", resp.Header, body)
				}
			case 400, 431:
				body, _ := io.ReadAll(resp.Body)
				if tc.status == 400 && !strings.Contains(string(body), ": ") && tc.name != "space before Upgrade's colon" {
					t.Errorf("the body names no reason: %s", body)
				}
				if _, err := br.ReadByte(); err != io.EOF {
					t.Fatalf("not closed: %v", err)
				}
			}
		})
	}
	// Only the seven that got in had a connection number, and with it state.
	if n := fdSeen(h.Dial(someone)); n != before+8 {
		t.Fatalf("the next connection has the number %d behind %d", n, before)
	}
}

func fdSeen(c *frameworktest.Client) int64 {
	var me struct{ FD int64 }
	c.Call("probe.see", nil).Into(&me)
	return me.FD
}

// A client may send its first frame together with the handshake.
func TestFrameBehindHandshake(t *testing.T) {
	h := start(t, &probe{})
	frame := []byte{0x81, 0x81, 0, 0, 0, 0, '2'}
	_, _, br := shake(t, h, upgrade("/?auth="+issue(t, h), "")+string(frame))
	got := make([]byte, 3)
	if _, err := io.ReadFull(br, got); err != nil || !bytes.Equal(got, []byte{0x81, 1, '3'}) {
		t.Fatalf("%q %v", got, err)
	}
}

// The page leads to the demo where there is one.
func TestFrontPage(t *testing.T) {
	for _, static := range []fs.FS{nil, fstest.MapFS{"index.html": {Data: []byte("the demo")}}} {
		h := start(t, &probe{}, func(o *framework.Options) { o.Static = static })
		for _, path := range []string{"/", "/any/path", "/static/", "/static/wsframe.js"} {
			resp, _, _ := shake(t, h, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
			b, err := io.ReadAll(resp.Body)
			if !resp.Close {
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
			if page := string(b); err != nil || resp.StatusCode != status || !strings.Contains(page, part) || static == nil && strings.Contains(page, "Demo") {
				t.Errorf("%s with static files %v: %d %s", path, static != nil, resp.StatusCode, page)
			}
		}
	}
}

// A handshake that does not come whole is ended, and its descriptor is free again (promise L1).
func TestSlowHandshake(t *testing.T) {
	t.Parallel()
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) { c.Limits.HandshakeTimeout = time.Second }))
	before := descriptors(t)
	resp, half, _ := shake(t, h, "GET / HTTP/1.1\r\nHost:")
	if resp.StatusCode != 408 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	_ = half.Close()
	var silent []net.Conn
	for range 20 {
		nc, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(h.URL, "ws://"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, nc)
	}
	for _, nc := range silent {
		_ = nc.SetDeadline(time.Now().Add(frameworktest.Timeout))
		if _, err := io.ReadAll(nc); err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
	}
	h.Eventually("descriptors back", func() bool { return descriptors(t) <= before+1 })
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors can be counted on Linux only")
	}
	return len(list)
}

// Limits of connections, in all and per address, and of refusals (promise L9).
func TestConnectionLimits(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) { c.Limits.MaxConnections = 2; c.Limits.RefusedRate = 0 }))
	token := issue(t, h)
	_, first, _ := shake(t, h, upgrade("/?auth="+token, ""))
	shake(t, h, upgrade("/?auth="+token, ""))
	for range 3 {
		if resp, _, _ := shake(t, h, upgrade("/?auth="+token, "")); resp.StatusCode != 503 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	_ = first.Close()
	h.Eventually("a place is free", func() bool {
		resp, _, _ := shake(t, h, upgrade("/?auth="+token, ""))
		return resp.StatusCode == 101
	})

	h = start(t, &probe{}, frameworktest.Config(func(c *config.App) {
		c.Limits.ConnectionsPerIP, c.Limits.RefusedRate, c.TrustedProxies = 1, 5, []string{"127.0.0.0/8"}
	}))
	token = issue(t, h)
	from := func(ip, token string) int {
		resp, _, _ := shake(t, h, upgrade("/?auth="+token, "X-Real-IP: "+ip+"\r\n"))
		return resp.StatusCode
	}
	if got := []int{from("10.0.0.1", token), from("10.0.0.1", token), from("10.0.0.2", token)}; fmt.Sprint(got) != "[101 403 101]" {
		t.Fatalf("%v", got)
	}
}

// A valid token comes in whatever others at its address tried; only what is refused is limited, and then answered without a body (promise L9).
func TestRefusedRate(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) {
		c.Limits.RefusedRate, c.TrustedProxies, c.Origins = 2, []string{"127.0.0.0/8"}, []string{"https://good.example"}
	}))
	token := issue(t, h)
	for _, bad := range []string{"/?auth=bad", "/", "/?auth=" + token + "x"} {
		for range 20 {
			resp, _, br := shake(t, h, upgrade(bad, "X-Real-IP: 10.0.0.3\r\n"))
			body, _ := io.ReadAll(resp.Body)
			if _, err := br.ReadByte(); resp.StatusCode != 403 || resp.Header.Get("message") != "error auth" || err != io.EOF {
				t.Fatalf("%d %v %v", resp.StatusCode, resp.Header, err)
			}
			if len(body) == 0 {
				break
			}
		}
		resp, _, _ := shake(t, h, upgrade("/?auth="+token, "X-Real-IP: 10.0.0.3\r\n"))
		if resp.StatusCode != 101 {
			t.Fatalf("a valid token behind %q: %d", bad, resp.StatusCode)
		}
	}
	// Another address has refusals of its own.
	resp, _, _ := shake(t, h, upgrade("/", "X-Real-IP: 10.0.0.4\r\n"))
	if body, _ := io.ReadAll(resp.Body); len(body) == 0 {
		t.Error("the first refusal of an address has no body")
	}
}

// Whoever may not come in takes no place from those who may.
func TestRefusedWhenFull(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) { c.Limits.MaxConnections = 1 }))
	shake(t, h, upgrade("/?auth="+issue(t, h), ""))
	if resp, _, _ := shake(t, h, upgrade("/?auth=bad", "")); resp.StatusCode != 403 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// Which pages may connect (security rule 4): those of the host that the request names, or those that are listed.
func TestOrigin(t *testing.T) {
	for _, tc := range []struct {
		name     string
		list     []string
		noOrigin bool
		statuses map[string]int // of an Origin; "" = none is sent
	}{
		{"default", nil, true, map[string]int{
			"": 101, "http://x": 101, "https://X": 101, "https://x:443": 101, "http://x:80": 101, "http://x/": 101, "wss://x": 101, "ws://x:80": 101,
			"http://x:81": 403, "http://x:443": 403, "https://x:80": 403, "http://x.evil": 403, "http://y": 403, "x": 403, "null": 403, "file://": 403,
			"http://x/path": 403, "http://x@y": 403, "http://y@x": 403, "http://x http://x": 403, "http://x, http://x": 403, "http://x\r\nOrigin: http://x": 403}},
		{"browsers only", nil, false, map[string]int{"": 403, "http://x": 101, "http://y": 403}},
		{"listed", []string{"https://a.example/", "b.example:81"}, true, map[string]int{
			"": 101, "https://a.example": 101, "HTTPS://A.example": 101, "https://a.example:443": 101, "http://a.example": 403, "https://a.example:81": 403,
			"http://b.example:81": 101, "https://b.example:81": 101, "https://b.example": 403, "http://x": 101, "https://x:443": 101, "http://x:81": 403, "null": 403}},
		{"bare host", []string{"c.example"}, true, map[string]int{"https://c.example": 101, "http://c.example:80": 101, "http://c.example:443": 403}},
		{"listed with its port", []string{"https://d.example:443"}, true, map[string]int{"https://d.example": 101, "http://d.example": 403}},
		{"any", []string{"*"}, false, map[string]int{"": 403, "http://y": 101, "null": 101}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, &probe{}, frameworktest.Quiet(), frameworktest.Config(func(c *config.App) {
				c.Limits.RefusedRate, c.Origins, c.AllowNoOrigin = 0, tc.list, tc.noOrigin
			}))
			token := issue(t, h)
			for origin, status := range tc.statuses {
				header := "Origin: " + origin + "\r\n"
				if origin == "" {
					header = ""
				}
				if resp, _, _ := shake(t, h, upgrade("/?auth="+token, header)); resp.StatusCode != status {
					t.Errorf("origin %q: status %d, want %d", origin, resp.StatusCode, status)
				}
			}
		})
	}
}

// The host that the request names is an origin, too, with or without its port.
func TestOwnOrigin(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) { c.Limits.RefusedRate = 0 }))
	token := issue(t, h)
	for _, tc := range []struct {
		host, origin string
		status       int
	}{
		{"ws.x", "https://ws.x", 101}, {"ws.x:443", "https://ws.x", 101}, {"WS.x:443", "https://ws.X:443", 101}, {"ws.x:80", "http://ws.x", 101},
		{"ws.x:8443", "https://ws.x:8443", 101}, {"ws.x:8443", "wss://ws.x:8443", 101}, {"[::1]:20000", "http://[::1]:20000", 101},
		{"ws.x:8443", "https://ws.x", 403}, {"ws.x", "https://ws.x:8443", 403}, {"ws.x:80", "https://ws.x", 403}, {"ws.x.evil", "https://ws.x", 403},
	} {
		request := strings.Replace(upgrade("/?auth="+token, "Origin: "+tc.origin+"\r\n"), "Host: x\r\n", "Host: "+tc.host+"\r\n", 1)
		if resp, _, _ := shake(t, h, request); resp.StatusCode != tc.status {
			t.Errorf("%s at %s: status %d, want %d", tc.origin, tc.host, resp.StatusCode, tc.status)
		}
	}
}

func TestAuthCheckOff(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) { c.Auth.Check = false }))
	h.DialToken("").Call("index", nil).Want(200, "success")
	h.DialToken("").Call("live.user.join", nil).Want(403, "mustBeWechatUser")
	h.Dial(someone).Call("live.user.join", nil).Want(200, "userJoinSuccess")
}
