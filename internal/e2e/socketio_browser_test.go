//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// socketBundle returns a folder with a page of ours and the bundle for browsers of a version, which
// npm packs without the packages that it needs in Node.
func socketBundle(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	if err := npm(dir, "pack", "--silent", "socket.io-client@"+version); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xzf", filepath.Join(dir, "socket.io-client-"+version+".tgz"), "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "package", "socket.io.js"))
	if err != nil {
		bundle, err = os.ReadFile(filepath.Join(dir, "package", "dist", "socket.io.js"))
	}
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("testdata/socketio/index.html")
	if err != nil {
		t.Fatal(err)
	}
	site := t.TempDir()
	for name, b := range map[string][]byte{"socket.io.js": bundle, "index.html": page} {
		if err := os.WriteFile(filepath.Join(site, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return site
}

// The page of an estate connects in a browser with the bundles of old clients, logs in, shows what
// is pushed, and shows the count in its footer. By polling, too, and without polling on and on.
func TestSocketIOBrowser(t *testing.T) {
	s := msgSenderOf(t, "WSFRAME_APP_SOCKETIO_ORIGINS=*")
	browser := openBrowser(t, "zh-CN")
	pages := 0
	for _, version := range []string{"1.3.7", "2.0.3"} {
		site := httptest.NewServer(http.FileServer(http.Dir(socketBundle(t, version))))
		t.Cleanup(site.Close)
		for _, transport := range []string{"", "polling", "websocket"} {
			tab := openTab(t, browser)
			uid := "用" + version + transport
			pages++
			query := url.Values{"server": {s.pages}, "uid": {uid}}
			if transport != "" {
				query.Set("transport", transport)
			}
			run(t, tab, chromedp.Navigate(site.URL+"/?"+query.Encode()))
			text := func(selector string) string {
				text, err := chromedp.Run(tab, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q).textContent", selector)))
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			until(t, uid+" has connected", func() bool { return text("#state") == "connected" })
			until(t, uid+" is reached", func() bool { return s.publish(uid, "你好 <b>"+uid) == "ok" })
			until(t, uid+" shows the message", func() bool { return text("#messages") == "你好 <b>"+uid })
			want := strings.NewReplacer("<b>", "", "</b>", "").Replace(online(pages, pages))
			until(t, uid+" shows "+want, func() bool { return text("#online") == want })
			for i := range 20 {
				if got := s.publish(uid, fmt.Sprint(i)); got != "ok" {
					t.Error(got)
				}
			}
			until(t, uid+" shows all messages", func() bool { return countOf(t, tab, "#messages li") == 21 })
			requests, err := chromedp.Run(tab, chromedp.Evaluate[int]("performance.getEntriesByType('resource').length"))
			if err != nil || requests > 60 {
				t.Errorf("%s made %d requests: %v", uid, requests, err)
			}
		}
	}
}
