package framework_test

import (
	"fmt"
	"strings"
	"testing"

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
