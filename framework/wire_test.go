package framework_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/bus"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// tap collects what nodes tell each other: messages as one more reader of their streams, answers as
// the commands that send them.
type tap struct {
	mu   sync.Mutex
	list []bus.Message
}

// listen has the tap read the streams.
func (tap *tap) listen(t *testing.T, client redis.UniversalClient, prefix string) {
	t.Helper()
	b, err := bus.Start(t.Context(), bus.Config{
		Client: client, Prefix: prefix, Timeout: frameworktest.Timeout, Log: zap.NewNop(), Lost: func(func(string) bool) {},
		Receive: func(m *bus.Message) {
			tap.mu.Lock()
			defer tap.mu.Unlock()
			one := *m
			one.Body = bytes.Clone(m.Body)
			tap.list = append(tap.list, one)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Run()
	t.Cleanup(func() { _ = b.Stop(t.Context()) })
}

func (tap *tap) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (tap *tap) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (tap *tap) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if args := cmd.Args(); args[0] == "xadd" && strings.Contains(args[1].(string), "WEBSOCKET_INBOX:") {
				_, to, _ := strings.Cut(args[1].(string), "WEBSOCKET_INBOX:")
				tap.mu.Lock()
				tap.list = append(tap.list, bus.Message{Kind: 'R', Key: to, Body: bytes.Clone(args[len(args)-1].([]byte))})
				tap.mu.Unlock()
			}
		}
		return next(ctx, cmds)
	}
}

// find gives the first message of that kind whose body holds the text, once.
func (t *tap) find(kind byte, text string) (m bus.Message, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, m := range t.list {
		if m.Kind == kind && strings.Contains(string(m.Body), text) {
			t.list = append(t.list[:i:i], t.list[i+1:]...)
			return m, true
		}
	}
	return m, false
}

// The bytes of every question, answer and push between nodes: servers of two versions may serve
// side by side.
func TestBetweenNodes(t *testing.T) {
	t.Parallel()
	var prefix string
	tap := &tap{}
	nodes := frameworktest.NewCluster(t, 2, mountHall,
		func(o *framework.Options) {
			prefix = o.Deps.Prefix
			o.Deps.Redis.AddHook(tap)
		},
		frameworktest.Config(func(c *config.App) { c.Users.SecondLogin, c.Cluster.Substreams = "replace", 0 }))
	app, ctx := nodes[0].App, t.Context()
	b := nodes[1].Dial(user("b"))
	fb := fdOf(b, "hall")
	for _, h := range nodes {
		h.Eventually("two nodes", func() bool { list, err := h.App.Nodes(ctx); return err == nil && len(list) == 2 })
		h.Flush()
	}
	tap.listen(t, nodes[0].Redis, prefix)
	var out strings.Builder
	variable := regexp.MustCompile(`"(i|since|pid|ctime)":\d+|"m":\[[^]]*\]|"[xy]":\{[^}]*\}|"more":"y+"|"to":"\w+"`)
	clean := func(text string) string {
		return variable.ReplaceAllStringFunc(strings.ReplaceAll(text, fmt.Sprint(fb), "12"), func(s string) string { return s[:strings.Index(s, ":")+1] + "…" })
	}
	wait := func(kind byte, text string) (m bus.Message) {
		t.Helper()
		nodes[0].Eventually(fmt.Sprintf("%c %s", kind, text), func() (ok bool) { m, ok = tap.find(kind, text); return ok })
		return m
	}
	// ask notes the question and the answer of a call.
	ask := func(op string, call func() error) {
		t.Helper()
		_ = call() // what comes back shows in the answer
		q := wait('Q', `"o":"`+op+`"`)
		var head struct {
			ID int64  `json:"i"`
			To string `json:"to"`
		}
		if err := json.Unmarshal(q.Body, &head); err != nil {
			t.Fatal(err)
		}
		a := wait('R', fmt.Sprintf(`"i":%d,`, head.ID))
		if a.Key != head.To {
			t.Errorf("%s: the answer goes to %q, not to %q", op, a.Key, head.To)
		}
		fmt.Fprintf(&out, "%s %s\n  %s\n", clean(q.Key), clean(string(q.Body)), clean(string(a.Body)))
	}
	told := func(kind byte, text string) {
		t.Helper()
		m := wait(kind, text)
		fmt.Fprintf(&out, "%c %s %q\n", m.Kind, clean(m.Key), clean(string(m.Body)))
	}
	fill := map[string]any{"text": strings.Repeat("x", 10_000)}

	ask("join", func() error { return app.Join(ctx, fb, "extra", framework.Announce, framework.Kept) })
	ask("leave", func() error { return app.Leave(ctx, fb, "extra") })
	ask("bind", func() error { return app.BindUID(ctx, fb, "team") })
	told('L', "")
	ask("unbind", func() error { return app.UnbindUID(ctx, fb, "team") })
	ask("setSession", func() error { return app.SetSession(ctx, fb, map[string]any{"hi": 1}) })
	ask("session", func() error { _, err := app.Session(ctx, fb); return err })
	ask("setSession", func() error { return app.UpdateSession(ctx, fb, map[string]any{"hi": nil}) })
	if err := app.SetSession(ctx, fb, fill); err != nil {
		t.Fatal(err)
	}
	wait('Q', strings.Repeat("x", 10_000))
	ask("setSession", func() error { return app.UpdateSession(ctx, fb, map[string]any{"more": strings.Repeat("y", 7_000)}) }) // too much
	ask("online", func() error { _, err := app.IsOnline(ctx, fb); return err })
	ask("online", func() error { _, err := app.IsOnline(ctx, 7); return err })
	ask("uidOnline", func() error { _, err := app.IsUIDOnline(ctx, "b"); return err })
	ask("roomCount", func() error { _, err := app.RoomCount(ctx, "hall"); return err })
	ask("counts", func() error { _, err := app.Counts(ctx); return err })
	ask("connections", func() error { _, err := app.Connections(ctx, 5, 10); return err })
	ask("members", func() error { _, err := app.RoomMembers(ctx, "hall", 0, 10); return err })
	ask("uids", func() error { _, err := app.UIDs(ctx, "a", 10); return err })
	ask("rooms", func() error { _, err := app.RoomNames(ctx, "", 10); return err })
	ask("node", func() error { _, err := app.Nodes(ctx); return err })
	ask("reach", func() error {
		_, err := app.Reach(ctx, "b", framework.OK("reached", ""), framework.Latest("x"), framework.Except(7))
		return err
	})

	for _, err := range []error{
		app.SendToRoom("hall", framework.OK("room", "", 1)),
		app.SendToRoom("hall", framework.OK("kept", ""), framework.Keep(5, time.Hour), framework.DropOldest),
		app.SendToUID("b", framework.OK("uid", ""), framework.Latest("k")),
		app.SendToFD(fb, framework.OK("fd", ""), framework.Except(8, 9)),
		app.SendToAll(framework.OK("all", "")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	told('P', `"event":"room"`)
	told('P', `"kept"`)
	told('U', `"uid"`)
	told('F', `"fd"`)
	told('A', `"all"`)

	ask("leaveAll", func() error { return app.LeaveAll(ctx, fb) })
	ask("dismiss", func() error { _, err := app.DismissRoom(ctx, "hall"); return err })
	ask("kick", func() error { return app.Kick(ctx, fb, 4321, "out") })
	ask("kickUID", func() error { _, err := app.KickUID(ctx, "nobody", 0, "why"); return err })

	path := filepath.Join("testdata", "between_nodes.txt")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != string(want) {
		t.Errorf("nodes tell each other something else:\n%s\nwanted:\n%s", got, want)
	}
}
