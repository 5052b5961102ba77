package manual

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

var files = fstest.MapFS{
	"VERSION":           {Data: []byte("1.2.3\n")},
	"README.md":         {Data: []byte("# The frame\n\n[start](docs/start.md#用户房间推送)\n\n| a | b |\n| --- | --- |\n| 1 | <script>alert(1)</script> |\n")},
	"README.zh-CN.md":   {Data: []byte("# 框架\n")},
	"docs/start.md":     {Data: []byte("# Start\n\n## 用户、房间、推送\n\n## `make -i`\n\n## Same\n\n## Same\n\n[x](javascript:alert(1))\n")},
	"docs/x/README.md":  {Data: []byte("# X\n")},
	"docs/x/Dockerfile": {Data: []byte("FROM <x>\n")},
}

func get(t *testing.T, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(files).ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

func TestPages(t *testing.T) {
	for target, parts := range map[string][]string{
		"/":                  {"<h1>wsframe 1.2.3</h1>", `<a href="/docs/start.md">Start</a></td>`, `<a href="/README.md">The frame</a></td><td><a href="/README.zh-CN.md">中文</a>`},
		"/README.md":         {`<a href="docs/start.md#%E7%94%A8%E6%88%B7%E6%88%BF%E9%97%B4%E6%8E%A8%E9%80%81">start</a>`, "<table>", `<a href="/README.zh-CN.md">中文</a>`},
		"/README.zh-CN.md":   {`<html lang="zh-CN">`, `<a href="/README.md">English</a>`},
		"/docs/start.md":     {`<h2 id="用户房间推送">`, `<h2 id="make--i">`, `<h2 id="same">`, `<h2 id="same-1">`},
		"/docs/x/Dockerfile": {"FROM <x>\n"},
		"/-/style.css":       {"color-scheme"},
	} {
		w := get(t, target)
		for _, part := range parts {
			if w.Code != 200 || !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s: %d, no %q:\n%s", target, w.Code, part, w.Body)
			}
		}
		if strings.Contains(w.Body.String(), "<script") || strings.Contains(w.Body.String(), "javascript:") {
			t.Errorf("%s:\n%s", target, w.Body)
		}
	}
	if body := get(t, "/").Body.String(); strings.Index(body, "Start") > strings.Index(body, "The frame") {
		t.Error(body)
	}
	if w := get(t, "/docs/x"); w.Code != 302 || w.Header().Get("Location") != "/docs/x/README.md" {
		t.Error(w.Code, w.Header())
	}
	if w := get(t, "/docs/x/Dockerfile"); w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Error(w.Header())
	}
	for _, target := range []string{"/nothing.md", "/docs", "/%2e%2e/%2e%2e/etc/passwd", "/-/nothing"} {
		if w := get(t, target); w.Code == 200 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}
