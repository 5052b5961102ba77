//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// If Redis has no memory, a kept push is answered with an error, and a plain push reaches the
// members of this node.
func TestPublishIntoFullRedis(t *testing.T) {
	addr, _ := startRedis(t)
	env := append(onRedis(addr), "WSFRAME_APP_AUTH_KEY=a-key-of-all-nodes-0123456789")
	one, two := start(t, env...), start(t, env...)
	ctx := t.Context()
	a := one.client("")
	until(t, "two nodes", func() bool { n, err := a.Counts(ctx); return err == nil && n.Nodes == 2 })
	here, there := one.user(a, "7"), two.user(two.client(""), "8")
	list, err := a.Connections(ctx, 0, 10)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, c := range list {
		if err := a.Join(ctx, c.FD, "A", false); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(event string, keep string) (int, string) {
		status, body := fetch(t, "POST", "http://"+one.push+"/api/v1/publish", "application/json", `{"room":"A","event":"`+event+`"`+keep+`}`)
		return status, strings.TrimSpace(body)
	}
	const keep = `,"keep":10,"age_seconds":60`
	if status, body := publish("before", keep); status != 200 || body != `{"result":{}}` {
		t.Fatal(status, body)
	}
	here.want(`"event":"before"`)
	there.want(`"event":"before"`)
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	if err := c.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if status, body := publish("lost", keep); status != 503 || !strings.Contains(body, `"code":"busy"`) {
		t.Errorf("a kept one: %d %s", status, body)
	}
	if status, body := publish("here", ""); status != 200 || body != `{"result":{"queued":true}}` {
		t.Errorf("a plain one: %d %s", status, body)
	}
	here.want(`"event":"here"`)
	if err := c.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "Redis takes pushes again", func() bool { status, _ := publish("after", keep); return status == 200 })
	here.want(`"event":"after"`)
	frame, err := there.receive()
	if err == nil && strings.Contains(frame, `"event":"here"`) { // the reply did not wait for the time of a Redis call
		frame, err = there.receive()
	}
	if err != nil || !strings.Contains(frame, `"event":"after"`) {
		t.Errorf("%q, %v", frame, err)
	}
}
