//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// evil is a foreign page that tries to push through the browser that displays it.
func evil(t *testing.T, push string) string {
	t.Helper()
	target := func(way string) string {
		return "http://" + push + "/?" + url.Values{"type": {"publish"}, "content": {"evil by " + way}}.Encode()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target("redirect"), http.StatusFound)
	})
	page := func(path, html string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Referrer-Policy", "no-referrer")
			fmt.Fprint(w, html)
		})
	}
	page("/link", `<a id=go href="`+target("link")+`">go</a>`)
	page("/form", `<form method=post action="http://`+push+`/"><input name=type value=publish><input name=content value="evil by form"><button id=go>go</button></form>`)
	page("/img", `<p id=tried>no</p><img src="`+target("img")+`" onload="tried.textContent='yes'" onerror="tried.textContent='yes'">`)
	page("/fetch", `<p id=tried>no</p><script>fetch("`+target("fetch")+`", {mode: 'no-cors', method: 'POST'}).catch(() => {}).then(() => { tried.textContent = 'yes' })</script>`)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// A page in a browser of this machine cannot push through a port without tokens, by any method.
func TestPushPages(t *testing.T) {
	s := start(t)
	seven := s.user(s.client(""), "7")
	away := evil(t, s.push)
	tab := openBrowser(t, "zh-CN")
	refused := chromedp.WaitVisible(`//body[contains(., "fail")]`)
	tried := chromedp.WaitVisible(`//p[@id="tried" and text()="yes"]`)
	run(t, tab, chromedp.Navigate(away+"/redirect"), refused)
	for _, page := range []string{"/link", "/form"} {
		run(t, tab, chromedp.Navigate(away+page))
		follow(t, tab, `#go`)
		run(t, tab, refused)
	}
	run(t, tab, chromedp.Navigate(away+"/img"), tried)
	run(t, tab, chromedp.Navigate(away+"/fetch"), tried)
	run(t, tab, chromedp.Navigate("http://"+s.push+"/?type=publish&content=evil+by+hand"), refused)
	if said, err := s.client("").NewMsg(t.Context(), "", "good"); said != "ok" || err != nil {
		t.Error(said, err)
	}
	seven.want(`"param":"good"`)
}

// Programs of this machine can push, and a list of users from PHP reaches each of them.
func TestPushPrograms(t *testing.T) {
	s := start(t)
	c := s.client("")
	seven, eight := s.user(c, "7"), s.user(c, "8")
	base := "http://" + s.push + "/"
	const fields = `['type' => 'publish', 'content' => '50% a;b', 'to' => ['7', '8']]`
	for name, command := range map[string][]string{
		"curl":              {"curl", "-s", "-d", "type=publish", "-d", "to[]=7", "-d", "to[]=8", "-d", "content=50% a;b", base},
		"curl, a query":     {"curl", "-s", "-g", base + "?type=publish&to[]=7&to[]=8&content=50%+a;b"},
		"curl, multipart":   {"curl", "-s", "-F", "type=publish", "-F", "to[]=7", "-F", "to[]=8", "--form-string", "content=50% a;b", base},
		"file_get_contents": {"php", "-r", `echo file_get_contents($argv[1], false, stream_context_create(['http' => ['method' => 'POST', 'header' => 'Content-Type: application/x-www-form-urlencoded', 'content' => http_build_query(` + fields + `)]]));`, "--", base},
		"PHP's curl":        {"php", "-r", `$c = curl_init($argv[1]); curl_setopt_array($c, [CURLOPT_POST => 1, CURLOPT_RETURNTRANSFER => 1, CURLOPT_POSTFIELDS => http_build_query(` + fields + `)]); echo curl_exec($c);`, "--", base},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
			if err != nil || string(out) != "ok" {
				t.Fatalf("%s %v", out, err)
			}
			seven.want(`"param":"50% a;b"`)
			eight.want(`"param":"50% a;b"`)
		})
	}
	// A message for one user that is not understood reaches nobody.
	for _, args := range [][]string{
		{"-H", "Content-Type: application/json", "-d", `{"to":"7"}`, base + "?type=publish&content=private"},
		{"-d", "uid=7", "-d", "type=publish", "-d", "content=private", base},
	} {
		out, err := exec.CommandContext(t.Context(), "curl", append([]string{"-s", "-i"}, args...)...).CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "\r\n\r\nfail") || !strings.Contains(string(out), "Message: badRequest: ") {
			t.Errorf("%s %v", out, err)
		}
	}
	if said, err := c.NewMsg(t.Context(), "", "all"); said != "ok" || err != nil {
		t.Error(said, err)
	}
	seven.want(`"param":"all"`)
	eight.want(`"param":"all"`)
}
