//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Copied machines have the same host name and runtime path. The second server refuses to start, in
// one line with both addresses, and the first one's connections and listeners are not affected. A
// restarted server starts normally.
func TestSameNodeTwice(t *testing.T) {
	t.Parallel()
	s := oneRedis(t)
	link := filepath.Join(t.TempDir(), "runtime")
	turn := func() {
		t.Helper()
		_ = os.Remove(link)
		if err := os.Symlink(t.TempDir(), link); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	n := startNodes(t, s, 1, nil, "WSFRAME_APP_RUNTIME_DIR="+link)
	n.list[0].dir = link
	members := n.crowd(20, 0, "a", "hall")
	place, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}

	turn()
	second := prepare(t, append(n.list[0].env, "WSFRAME_APP_OUTSIDE_PORT=0", "WSFRAME_APP_MANAGER_PORT=0", "WSFRAME_APP_PUSH_PORT=0")...)
	n.list = append(n.list, second)
	n.launch(1)
	until(t, "the second server to end", func() bool {
		select {
		case <-second.ended:
			return true
		default:
			return false
		}
	})
	said := second.out.String()
	if second.exit == nil || !strings.Contains(said, n.list[0].outside) || strings.Count(said, "127.0.0.1:") < 2 || !strings.Contains(said, "same node id") {
		t.Errorf("%v\n%s", second.exit, said)
	}
	n.list = n.list[:1]
	for _, m := range members {
		select {
		case <-m.ended:
			t.Errorf("connection %d was closed", m.fd)
		default:
		}
	}
	if b, _ := os.ReadFile(n.closed); len(b) > 0 {
		t.Errorf("close listeners were told of %s", b)
	}

	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(place, link); err != nil {
		t.Fatal(err)
	}
	n.list[0].ok("-s", "reload")
	if err := syscall.Kill(n.worker(0), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "all ends to be told", func() bool {
		if b, _ := os.ReadFile(n.closed); len(b) == 0 {
			return false
		}
		times, _ := n.closeCalls()
		for _, m := range members {
			if times[m.fd] != 1 {
				return false
			}
		}
		return true
	})
	n.crowd(1, 0, "b", "hall")
	n.kill(0)
	n.launch(0)
	n.ready(0)
	n.crowd(1, 0, "c", "hall")
}
