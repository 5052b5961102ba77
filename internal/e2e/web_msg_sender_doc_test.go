//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wsframe/internal/testserver"
)

// What docs/web-msg-sender.md shows works: its settings, its push, its lines of nginx, its pages and
// its controller. Both languages have the same blocks.
func TestSocketIODocument(t *testing.T) {
	t.Parallel()
	const doc = "docs/web-msg-sender.md"
	block := func(language string, n int) []string {
		t.Helper()
		list := fences(t, doc, language)
		if len(list) != n || !slices.Equal(list, fences(t, "docs/web-msg-sender.zh-CN.md", language)) {
			t.Fatalf("%d blocks of %s, which the languages must share", len(list), language)
		}
		return list
	}

	config := configWith(t, "socketio", block("yaml", 1)[0])
	port := testserver.FreePort(t)
	s := &msgSender{prepare(t, fmt.Sprint("WSFRAME_APP_SOCKETIO_PORT=", port), "WSFRAME_APP_TRUSTED_PROXIES=127.0.0.1"), ""}
	s.config = config
	s.ok("-s", "checkconfig")
	s.serve(console)

	proxies := block("nginx", 2)
	n := testserver.StartNginx(t, func(addr string) string {
		pages := regexp.MustCompile(`server 10\.0\.0\.1:2120;\n *server 10\.0\.0\.2:2120;`).ReplaceAllString(proxies[1], fmt.Sprint("server 127.0.0.1:", port, ";"))
		return fmt.Sprintf("%sserver {\nlisten %s;\n%s}", pages, addr, strings.Replace(proxies[0], "127.0.0.1:2120", "pages", 1))
	})
	p := openPages(t)
	p.open("default", "2.5.0", "http://"+n.Addr, "", 1234)
	p.open("polling", "4.8.1", "http://"+n.Addr, "polling", "1234")
	sh := strings.Replace(block("sh", 1)[0], "127.0.0.1:2121", s.push, 1)
	until(t, "both pages have a push", func() bool {
		out, err := exec.Command("sh", "-ec", sh).Output()
		if err != nil || string(out) != "ok" && string(out) != "offline" {
			t.Fatalf("%q %v", out, err)
		}
		return slices.Contains(p.all("default", "new_msg"), "hello") && slices.Contains(p.all("polling", "new_msg"), "hello")
	})
	p.until("default", "upgrade", "websocket")

	for _, source := range block("js", 2) {
		parses(t, source)
	}
	builds(t, "app/notice", block("go", 1)[0])
}
