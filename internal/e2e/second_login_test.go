//go:build e2e

package e2e

import (
	"syscall"
	"testing"
)

// A user who lost the network can log in on another node, even if the node of the old connection
// does not answer. A connection that answers keeps its place.
func TestSecondLoginAcrossNodes(t *testing.T) {
	n := startNodes(t, oneRedis(t), 2, nil, "WSFRAME_APP_USERS_SECOND_LOGIN=refuse")
	old := n.member(0, "u", "hall")
	old.must(t, "hall.send", map[string]any{"uid": "u", "n": 1})
	until(t, "the login in its place", func() bool { return old.count() == 1 })
	refused, err := n.open(1, "u", "")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the second login to be refused", func() bool { code, ended := refused.closed(); return ended && code == 4010 })

	old.mute.Store(true)
	n.signal(0, syscall.SIGSTOP)
	fresh := n.member(1, "u", "hall")
	fresh.must(t, "hall.send", map[string]any{"uid": "u", "n": 2})
	until(t, "the new connection to be served", func() bool { return fresh.count() == 1 })
	n.signal(0, syscall.SIGCONT)
	until(t, "the old connection to end", func() bool {
		code, ended := old.closed()
		return ended && (code == 4009 || code == 1012) // 1012: the node was frozen for so long that it counts as dead
	})
	fresh.must(t, "hall.send", map[string]any{"uid": "u", "n": 3})
	until(t, "the new connection to be served on", func() bool { return fresh.count() == 2 })
}
