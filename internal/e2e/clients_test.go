//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"testing"
)

// An application whose goroutines all wait in Redis delays neither its node's lease nor messages
// between nodes.
func TestApplicationWaitsInRedis(t *testing.T) {
	t.Parallel()
	n := startNodes(t, oneRedis(t), 2, nil)
	asker := n.member(0, "asker", "hall")
	n.member(1, "other", "hall")
	if err := asker.call("hall.block", map[string]any{"count": 200}); err != nil {
		t.Fatal(err)
	}
	until(t, "the application's connections to wait", func() bool {
		list, err := n.store.client.ClientList(t.Context()).Result()
		return err == nil && strings.Count(list, "cmd=blpop") > 8
	})
	late := n.member(0, "late", "hall")
	for range 3 {
		if err := asker.call("hall.counts", nil); err != nil {
			t.Errorf("the other node is out of reach: %v", err)
		}
	}
	until(t, "a new connection to be known to Redis", func() bool { return n.set("hall")[strconv.FormatInt(late.fd, 10)] })
}
