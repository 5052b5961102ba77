package framework_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

func observed() (frameworktest.Option, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.InfoLevel)
	return func(o *framework.Options) { o.Deps.Log = zap.New(core) }, logs
}

func counted(list []framework.Counted) string {
	var all []string
	for _, c := range list {
		all = append(all, fmt.Sprintf("%d %s: %d", c.Code, c.Reason, c.N))
	}
	return strings.Join(all, "; ")
}

// Every refused handshake is counted by its reason, and a flood of them is one line of log for each. Nothing of a client's words is in it.
func TestRefusalsAreSeen(t *testing.T) {
	quiet, logs := observed()
	h := start(t, &probe{}, quiet, frameworktest.Config(func(c *config.App) {
		c.Origins, c.TrustedProxies = []string{"https://good.example"}, []string{"127.0.0.1"}
	}))
	token := issue(t, h)
	for range 30 {
		shake(t, h, upgrade("/?auth=SECRET", ""))
		shake(t, h, upgrade("/?auth="+token, "Origin: https://evil.example\r\n"))
		resp, _, _ := shake(t, h, strings.Replace(upgrade("/?auth="+token, ""), "Version: 13", "Version: 8", 1))
		if body, _ := io.ReadAll(resp.Body); string(body) != "Bad Request: Sec-WebSocket-Version must be 13\n" || resp.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Fatalf("%s %v", body, resp.Header)
		}
		shake(t, h, upgrade("/?auth="+token, "X-Real-IP: 1.2.3.4:\x85\r\n"))
	}
	want := "400 Sec-WebSocket-Version must be 13: 30; 403 origin: 30; 403 token: 30"
	if got := counted(h.App.Refused()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	lines := map[string]int{}
	for _, e := range logs.All() {
		lines[e.Message]++
		if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "SECRET") || strings.Contains(text, token) || strings.Contains(text, "evil") {
			t.Error(text)
		}
	}
	if lines["handshake refused"] != 3 || lines["the trusted header of a proxy holds no address: its clients count as one"] != 1 {
		t.Errorf("%v", lines)
	}
}

// What the server closes for a client's fault is counted by code and reason; what clients close themselves is not.
func TestClosesAreSeen(t *testing.T) {
	quiet, logs := observed()
	h := start(t, &probe{}, quiet, frameworktest.Config(func(c *config.App) { c.Limits.MessageBytes, c.Limits.JSONDepth = 1000, 3 }))
	for range 3 {
		for frame, code := range map[string]int{`{"a":`: 1007, `[1]`: 1007, `{"a":[[[1]]]}`: 1008, strings.Repeat("x", 1001): 1009} {
			c := h.Dial(someone)
			c.Send(frame)
			c.WantClose(code)
		}
		h.Dial(someone).Close()
		h.Dial(someone).Vanish()
	}
	h.Eventually("all have ended", func() bool { return h.App.Hub().Len() == 0 })
	want := "1007 not a JSON object: 3; 1007 not valid JSON: 3; 1008 JSON is nested too deep: 3; 1009 message too large: 3"
	h.Eventually(want, func() bool { return counted(h.App.ClosedByServer()) == want })
	if n := logs.FilterMessage("connection closed").Len(); n != 4 {
		t.Errorf("%d lines", n)
	}
}

// A stop waits for no client that is not in yet: its request has not come whole, or it does not read its refusal.
func TestStopDuringHandshakes(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Quiet(), frameworktest.Config(func(c *config.App) { c.Limits.HandshakeTimeout = time.Hour }))
	address := strings.TrimSuffix(strings.TrimPrefix(h.URL, "ws://"), "/")
	for _, request := range []string{"", "GET / HTTP/1.1\r\nHost:", upgrade("/", "")} {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, request); err != nil {
			t.Fatal(err)
		}
	}
	h.Eventually("handshakes are under way", func() bool { return h.App.Shaking() >= 2 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		h.App.StopAccepting()
	}()
	select {
	case <-stopped:
	case <-time.After(30 * time.Second):
		t.Fatal("the listeners wait for clients")
	}
}
