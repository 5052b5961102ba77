//go:build e2e

package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"wsframe/internal/testserver"
)

var pushAddress = regexp.MustCompile(`push +(http://\S+)`)

// A node that cannot reach Redis notifies probes, new clients and back ends, and sends its clients
// to the other node. Everything recovers when Redis is back.
func TestNodeCutOff(t *testing.T) {
	t.Parallel()
	s := oneRedis(t)
	proxies := []*testserver.Proxy{testserver.StartProxy(t, s.masters[0].Addr), testserver.StartProxy(t, s.masters[0].Addr)}
	n := startNodes(t, s, 2, func(i int) []string { return []string{proxies[i].Addr} })
	base := pushAddress.FindStringSubmatch(n.list[0].out.String())[1]
	push := func() (int, string) {
		return fetch(t, "POST", base+"api/v1/sendToRoom", "application/json", `{"room":"hall","event":"x"}`)
	}
	health := func(status int) func() bool {
		return func() bool { got, _ := fetch(t, "GET", base+"healthz", "", ""); return got == status }
	}
	until(t, "it to be ready", health(http.StatusOK))
	until(t, "a push to be taken", func() bool { status, _ := push(); return status == http.StatusOK })
	members := n.crowd(10, 0, "a", "hall")
	other := n.member(1, "other", "")
	until(t, "the nodes to know each other", func() bool { return other.call("hall.counts", nil) == nil })
	release := proxies[0].Hold()
	defer release()

	until(t, "it not to be ready", health(http.StatusServiceUnavailable))
	if status, said := push(); status != http.StatusServiceUnavailable || !strings.Contains(said, "unavailable") {
		t.Errorf("a push to a room is answered %d %s", status, said)
	}
	_, answer, err := websocket.Dial(t.Context(), "ws://"+n.list[0].outside+"/?auth="+n.token("b"), nil)
	if err == nil || answer == nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new client is let in: %v", err)
	}
	for _, m := range members {
		until(t, "a client to be sent away", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.code == 1012 })
	}
	release()
	until(t, "it to be ready again", health(http.StatusOK))
	until(t, "a push to be taken again", func() bool { status, _ := push(); return status == http.StatusOK })
	n.crowd(1, 0, "c", "hall")
}
