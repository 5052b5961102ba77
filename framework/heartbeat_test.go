package framework_test

import (
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// Heartbeats as text are understood where the configuration lists them, the empty one too; what is not listed is no JSON.
func TestHeartbeatTexts(t *testing.T) {
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("hall", &hall{})}, nil
	}
	listed := frameworktest.Config(func(c *config.App) {
		c.Heartbeat.Texts = []string{"ping=pong", "心跳=", `{"type":"ping"}={"type":"pong"}`, "="}
		c.Protocol.ReceiveAck = true
	})
	h := frameworktest.New(t, mount, listed, frameworktest.Quiet())
	c := h.Dial(user("a"))
	for text, answer := range map[string]string{"ping": "pong", `{"type":"ping"}`: `{"type":"pong"}`, "2": "3", "心跳": "", "": ""} {
		c.Send(text)
		if answer != "" {
			if got := c.Receive(); got != answer {
				t.Errorf("%q is answered %q", text, got)
			}
		}
		c.WantNothing()
	}
	for _, text := range []string{"PING", "ping ", "heartbeat"} {
		c := h.Dial(user("b"))
		c.Send(text)
		c.WantClose(1007)
	}
	off := frameworktest.New(t, mount, frameworktest.Quiet())
	for _, text := range []string{"ping", ""} {
		c := off.Dial(user("c"))
		c.Send(text)
		c.WantClose(1007)
	}
}
