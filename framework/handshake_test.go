package framework_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
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

// contract §1: whose token is let in, and what the others are told; all refusals look alike.
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
		{"not a handshake", strings.Replace(upgrade("/?auth="+token, ""), "Version: 13", "Version: 8", 1), 400},
		{"websocket among others", strings.Replace(upgrade("/?auth="+token, ""), "Upgrade: websocket", "Upgrade: h2c, WebSocket", 1), 101},
		{"plain page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, _, _ := shake(t, h, tc.request)
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
			}
		})
	}
	// Only the six that got in had a connection number, and with it state.
	if n := fdSeen(h.Dial(someone)); n != before+7 {
		t.Fatalf("the next connection has the number %d behind %d", n, before)
	}
	want := "400 Sec-WebSocket-Version must be 13: 1; 403 origin: 2; 403 token: 6"
	if got := counted(h.App.Refused()); got != want {
		t.Errorf("%s, want %s", got, want)
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

// A connection that ends gives its place back (promise L9).
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
}

func TestAuthCheckOff(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Config(func(c *config.App) { c.Auth.Check = false }))
	h.DialToken("").Call("index", nil).Want(200, "success")
	for token, id := range map[*frameworktest.Client]string{h.DialToken(""): "", h.Dial(someone): someone.ID} {
		token.Call("who", nil).Want(200, "who").WantInfo(id)
	}
}
