package framework_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// handshake is the status of a handshake at a server.
func handshake(t *testing.T, h *frameworktest.Harness) int {
	t.Helper()
	id := user("new")
	id.CTime = time.Now().Unix()
	token, err := h.Tokens.Issue(id)
	if err != nil {
		t.Fatal(err)
	}
	ws, answer, err := websocket.Dial(t.Context(), h.URL+"?auth="+token, nil)
	if err == nil {
		_ = ws.CloseNow()
	}
	if answer == nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}

// What a node that is cut off from Redis does for the time of a lease, and when it is back.
func TestIsolation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		nodes  int // 0 = the store is its own
		mode   string
		closed bool // clients are sent away
	}{
		{"another node lives", 2, "close", true},
		{"another node lives, but it serves", 2, "serve", false},
		{"no other node", 1, "close", false},
		{"alone", 0, "close", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := "node-1"
			if c.nodes == 0 {
				name = "test"
			}
			option, proxy := behindProxy(t, name)
			options := []frameworktest.Option{shortLease, option, frameworktest.Config(func(a *config.App) { a.Cluster.Isolated = c.mode })}
			var h *frameworktest.Harness
			if c.nodes == 0 {
				h = frameworktest.New(t, mountHall, options...)
			} else {
				h = frameworktest.NewCluster(t, c.nodes, mountHall, options...)[0]
			}
			if c.nodes > 1 {
				h.Eventually("it to have seen the other one", h.App.Node().Lease.Accompanied)
			}
			clients := []*frameworktest.Client{h.Dial(user("a")), h.Dial(user("b"))}
			fdOf(clients[0], "R")
			release := proxy().Hold()
			t.Cleanup(release)
			h.Eventually("it to notice", h.App.Isolated)
			if err := h.App.SendToRoom("R", framework.OK("x", "")); !errors.Is(err, framework.ErrUnavailable) {
				t.Errorf("a push to a room: %v", err)
			}
			if c.closed {
				if status := handshake(t, h); status != http.StatusServiceUnavailable {
					t.Errorf("a new client is answered %d", status)
				}
				for _, client := range clients {
					client.WantClose(framework.CloseRestart)
				}
			} else {
				clients[1].Call("hall.remember", map[string]any{"text": "x"}).Want(200, "remembered")
				h.Dial(user("c")).Call("hall.remember", map[string]any{"text": "x"}).Want(200, "remembered")
			}
			release()
			h.Eventually("it to be ready", func() bool { return !h.App.Isolated() })
			d := h.Dial(user("d"))
			fdOf(d, "R")
			h.Eventually("a push to a room to be taken", func() bool { return h.App.SendToRoom("R", framework.OK("x", "")) == nil })
			d.WantPush("x")
		})
	}
}
