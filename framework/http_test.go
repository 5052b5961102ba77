package framework_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

func httpURL(h *frameworktest.Harness) string {
	return "http" + strings.TrimSuffix(strings.TrimPrefix(h.URL, "ws"), "/")
}

func fetch(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), frameworktest.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A handler of the application pushes to clients, within its limits. The WebSocket and the built-in
// page are beside it.
func TestHTTP(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	push := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		case err == nil:
			err = framework.ServerOf(r.Context()).SendToAll(framework.OK("news", "", string(b)))
			_, _ = io.WriteString(w, "sent")
		}
		if err != nil {
			t.Log(err)
		}
	})
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{
			framework.Mount("probe", &probe{}), framework.HTTP("/api/", push), framework.HTTP("/small", push, framework.MaxBody(3)),
		}, nil
	})
	c := h.Dial(someone)
	for _, tc := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"POST", "/api/push", "one", 200, "sent"},
		{"POST", "/small", "two", 200, "sent"},
		{"POST", "/small", "four", 413, "too large\n"},
		{"POST", "/api/push", strings.Repeat("x", framework.DefaultBody+1), 413, "too large\n"},
	} {
		if status, answer := fetch(t, tc.method, httpURL(h)+tc.path, tc.body); status != tc.status || answer != tc.answer {
			t.Errorf("%s %.10s: %d %q", tc.path, tc.body, status, answer)
		}
		if tc.status == 200 {
			c.WantPush("news").WantParam(`"` + tc.body + `"`)
		}
	}
	if status, page := fetch(t, "GET", httpURL(h)+"/", ""); status != 200 || !strings.Contains(page, "wsframe") {
		t.Errorf("%d %s", status, page)
	}
	if framework.ServerOf(t.Context()) != nil {
		t.Error("a Server out of nowhere")
	}
	var listed []string
	for _, r := range h.App.Routes() {
		if strings.HasPrefix(r.Method, "http ") {
			listed = append(listed, r.Method+" "+r.Controller)
		}
	}
	if got := strings.Join(listed, ", "); got != "http /api/ http.HandlerFunc, http /small http.HandlerFunc" {
		t.Error(got)
	}
}

// Paths that are taken are refused at start, by name.
func TestHTTPCollisions(t *testing.T) {
	cfg, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.App.Auth.Check = false
	_, err = framework.Examine(framework.Options{Config: cfg.App, Deps: framework.Deps{Log: zap.NewNop()}, Controllers: []framework.Controller{
		framework.HTTP("/a", http.NotFoundHandler()), framework.HTTP("/a", http.NotFoundHandler()), framework.HTTP("/static/x", http.NotFoundHandler()), framework.HTTP("/b", nil),
	}})
	for _, want := range []string{`http "/a": it is mounted twice`, `http "/static/x": this path is the server's own`, `http "/b": the handler is nil`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
