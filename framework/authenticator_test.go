package framework_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// greeter shows what OnConnect knows of a handshake.
type greeter struct{}

func (*greeter) OnConnect(c *framework.Ctx) error {
	h := framework.HandshakeOf(c)
	return c.Push(framework.OK("welcome", "", fmt.Sprint(h.Path, " ", h.Query().Get("room"), " ", h.Header("x-device"), " ", h.Cookie("sid"), " ", h.Remote, " ", h.Context().Err())))
}

func (*greeter) Later(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("later", "", framework.HandshakeOf(c) != nil), nil
}

// An Authenticator decides by anything of a handshake. Hostile input is refused as any other.
func TestAuthenticator(t *testing.T) {
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("greeter", &greeter{}), framework.Authenticate(func(h *framework.Handshake) (framework.Identity, error) {
			id := framework.Identity{ID: "7", Type: "web"}
			switch sid := h.Cookie("sid"); sid {
			case "good":
				return id, nil
			case "down":
				return id, fmt.Errorf("the database: %w", framework.ErrUnavailable)
			case "panic":
				panic("in an authenticator")
			case "invalid":
				return framework.Identity{ID: "a b", Type: "web"}, nil
			case "zero":
				return framework.Identity{}, nil
			default:
				return id, errors.New("no such session: " + sid)
			}
		})}, nil
	}, frameworktest.Config(func(c *config.App) { c.Limits.RefusedRate = 0 }))
	for _, tc := range []struct {
		name, path, header string
		status             int
	}{
		{"a cookie", "/p%20q?room=r", "Cookie: sid=good\r\nX-Device: d\r\n", 101},
		{"the same cookie twice", "/", "Cookie: sid=good; sid=good\r\n", 101},
		{"two cookies", "/", "Cookie: sid=good; sid=evil\r\n", 403},
		{"two cookie headers", "/", "Cookie: sid=evil\r\nCookie: sid=good\r\n", 403},
		{"none", "/", "", 403},
		{"hostile cookies", "/", "Cookie: sid=\"\x1b[2J\"; ;;=; a=b=c; sid\r\n", 400},
		{"many cookies", "/", "Cookie: " + strings.Repeat("a=b; ", 1200) + "\r\n", 403},
		{"a header that is too long", "/", "Cookie: sid=" + strings.Repeat("x", 9000) + "\r\n", 431},
		{"not now", "/", "Cookie: sid=down\r\n", 503},
		{"a panic", "/", "Cookie: sid=panic\r\n", 403},
		{"an invalid identity", "/", "Cookie: sid=invalid\r\n", 403},
		{"no identity", "/", "Cookie: sid=zero\r\n", 403},
		{"a bad built-in token", "/?auth=w1.bad", "Cookie: sid=good\r\n", 403},
		{"a built-in token", "/?auth=" + issue(t, h), "", 101},
		{"another token", "/?auth=whatever", "Cookie: sid=good\r\n", 101},
	} {
		if resp, _, _ := shake(t, h, upgrade(tc.path, tc.header)); resp.StatusCode != tc.status {
			t.Errorf("%s: %d, want %d", tc.name, resp.StatusCode, tc.status)
		}
	}
	c := h.Dial(someone)
	c.WantPush("welcome").WantParam(`"/    127.0.0.1 <nil>"`)
	c.Call("greeter.later", nil).WantParam("false")
	_, _, br := shake(t, h, upgrade("/p%20q?room=r", "Cookie: sid=good\r\nX-Device: d\r\n"))
	head := make([]byte, 2)
	if _, err := br.Read(head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := br.Read(body); err != nil || !strings.Contains(string(body), `"/p q r d good 127.0.0.1 <nil>"`) {
		t.Errorf("%s %v", body, err)
	}
}

func TestTwoAuthenticators(t *testing.T) {
	own := framework.Authenticate(func(*framework.Handshake) (framework.Identity, error) { return framework.Identity{}, nil })
	_, err := framework.Examine(framework.Options{Deps: framework.Deps{Log: zap.NewNop()}, Controllers: []framework.Controller{own, own}})
	if err == nil || !strings.Contains(err.Error(), "two authenticators") {
		t.Error(err)
	}
	if framework.HandshakeOf(context.Background()) != nil {
		t.Error("a handshake out of nowhere")
	}
}
