package push

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a served Server.
type host struct {
	*Server
	t       *testing.T
	url     string
	backend *recorder
	store   *memory
	client  *http.Client
	socket  *net.TCPListener
}

func listen(t *testing.T) *net.TCPListener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln.(*net.TCPListener)
}

func serve(t *testing.T, cfg Config) *host {
	t.Helper()
	h := &host{t: t, backend: &recorder{}, store: newMemory(), client: &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}}
	cfg.Backend, cfg.Store = h.backend, h.store
	h.Server = NewServer(cfg)
	ln := listen(t)
	h.url = "http://" + ln.Addr().String()
	h.run(ln)
	return h
}

func (h *host) run(ln *net.TCPListener) {
	h.socket = ln
	served := make(chan error, 1)
	go func() { served <- h.Serve(ln) }()
	h.t.Cleanup(func() {
		h.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(h.Shutdown(ctx), <-served); err != nil {
			h.t.Error(err)
		}
	})
}

// do makes a request; headers are "Name: value".
func (h *host) do(method, path, body string, headers ...string) (int, string, http.Header) {
	h.t.Helper()
	r, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	res, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

const asJSON = "Content-Type: application/json"

func (h *host) post(method, body string, headers ...string) (int, string) {
	h.t.Helper()
	status, text, _ := h.do(http.MethodPost, "/api/v1/"+method, body, append(headers, asJSON)...)
	return status, strings.TrimSpace(text)
}

func (h *host) want(status int, part string) func(int, string) {
	return func(got int, text string) {
		h.t.Helper()
		if got != status || !strings.Contains(text, part) {
			h.t.Errorf("got %d %s, want %d and %q", got, text, status, part)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	h := serve(t, Config{MaxBody: 1024})
	h.want(200, `{"result":{}}`)(h.post("sendToFD", `{"fd":1,"event":"e"}`))
	h.want(200, `{"result":{"connections":2}}`)(h.post("REACH", `{"uid":"7","event":"e"}`))
	h.want(404, `"noConnection","message":"connection 9: no such connection"`)(h.post("sendToFD", `{"fd":9,"event":"e"}`))
	h.want(404, `"unknownMethod"`)(h.post("nothing", `{}`))
	h.want(404, `"unknownMethod"`)(h.post("a%2fb", `{}`))
	h.want(400, `"badRequest","message":"fd is missing"`)(h.post("kick", `{}`))
	h.want(413, `"tooLarge"`)(h.post("sendToAll", `{"event":"e","info":"`+strings.Repeat("x", 1024)+`"}`))
	status, text, _ := h.do("POST", "/api/v1/counts", "{}", "Content-Type: text/plain")
	h.want(415, `"unsupportedMediaType"`)(status, text)
	status, text, header := h.do("GET", "/api/v1/counts", "")
	h.want(405, `"methodNotAllowed"`)(status, text)
	if header.Get("Allow") != "POST" {
		t.Error("no Allow")
	}
	status, text, _ = h.do("GET", "/nothing", "")
	h.want(404, `"notFound"`)(status, text)
	for _, path := range []string{"/healthz", "/readyz", "/livez"} {
		status, text, _ = h.do("GET", path, "")
		h.want(200, "ok")(status, text)
	}
	h.backend.fail = errors.New("dial redis: secret")
	h.want(500, `{"error":{"code":"internal","message":"internal error"}}`)(h.post("counts", `{}`))
	h.backend.fail = fail(CodePartial, "not all nodes have answered")
	h.want(504, `{"result":{"connections":2},"error":{"code":"partial"`)(h.post("reach", `{"uid":"7","event":"e"}`))
	h.backend.fail = fail(CodeQueueFull, "too much waits")
	h.want(503, `"queueFull"`)(h.post("sendToAll", `{"event":"e"}`))
	h.backend.fail = context.DeadlineExceeded
	h.want(504, `"timeout"`)(h.post("counts", `{}`))
}

// JSON that parsers read differently, or not at all, is refused at any depth, with the reason.
func TestInteroperable(t *testing.T) {
	h := serve(t, Config{})
	for body, want := range map[string]string{
		`{"fd":1,"event":"e","param":{"a":["\ud83d"]}}`:    `"param.a[0]\" holds half of a surrogate pair`,
		`{"fd":1,"event":"e","param":{"\ude00":1}}`:        `"param\" holds half of a surrogate pair`,
		`{"fd":1,"event":"e","info":"\ud83d"}`:             `"info\" holds half`,
		`{"fd":1,"event":"\ud83d"}`:                        `"event\" holds half`,
		`{"fd":1,"event":"e","param":{"b":{"a":1,"a":2}}}`: `"param.b.a\" is there twice`,
		`{"fd":1,"event":"e","param":[1,-1e400]}`:          `"param[1]\" is a number beyond`,
	} {
		h.want(400, want)(h.post("sendToFD", body))
		h.want(400, want[strings.IndexAny(want, "\\"):])(h.post("batch", `{"calls":[{"method":"counts"},{"method":"sendToFD","params":`+body+`}]}`))
	}
	h.want(400, `values.cart`)(h.post("setSession", `{"fd":1,"values":{"cart":{"a":1,"a":1}}}`))
	h.want(400, `"a\" is there twice`)(h.post("updateSession", `{"fd":1,"values":{},"a":1,"a":2}`))
	if got := h.backend.said(); len(got) != 0 {
		t.Error(got)
	}
	c, err := NewClient(h.url, "")
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP = h.client
	var e *Error
	if err := c.SendToAll(t.Context(), &Push{Event: "e", Param: []byte(`{"a":1,"a":2}`)}); !errors.As(err, &e) || e.Code != CodeBadRequest {
		t.Error(err)
	}
	h.want(200, `"result"`)(h.post("sendToFD", `{"fd":1,"event":"e","param":["\ud83d\ude00",1e300,{"a":{"a":1}}]}`))
}

func TestMetrics(t *testing.T) {
	figures := func(w io.Writer) error { _, err := io.WriteString(w, "connections 3\n"); return err }
	h := serve(t, Config{Metrics: figures, Tokens: []Token{{"0123456789abcdef", []string{ScopeSend}}, {"fedcba9876543210", []string{ScopeRead}}}})
	get := func(headers ...string) (int, string) {
		status, text, _ := h.do("GET", "/metrics", "", headers...)
		return status, text
	}
	h.want(200, "connections 3\n")(get("Authorization: Bearer fedcba9876543210"))
	h.want(403, "scope read")(get("Authorization: Bearer 0123456789abcdef"))
	h.want(401, `"unauthorized"`)(get())
	h.want(429, `"rateLimited"`)(func() (int, string) {
		h := serve(t, Config{Metrics: figures, RateLimit: 1})
		h.do("GET", "/metrics", "")
		status, text, _ := h.do("GET", "/metrics", "")
		return status, text
	}())
	status, text, _ := serve(t, Config{}).do("GET", "/metrics", "")
	h.want(404, `"notFound"`)(status, text)
}

func TestBatch(t *testing.T) {
	h := serve(t, Config{Tokens: []Token{{"0123456789abcdef", []string{ScopeSend}}, {"fedcba9876543210", nil}}})
	const all = "Authorization: Bearer fedcba9876543210"
	h.want(200, `{"result":{"results":[{"result":{}},{"error":{"code":"noConnection","message":"connection 3: no such connection"}},{"result":{"connections":2,"uids":1,"rooms":1,"nodes":1}}]}}`)(
		h.post("batch", `{"calls":[{"method":"join","params":{"fd":1,"room":"A"}},{"method":"leave","params":{"fd":3,"room":"A"}},{"method":"counts"}]}`, all))
	if got := h.backend.said(); !slices.Equal(got, []string{"Join 1 A false", "Counts"}) {
		t.Error(got)
	}
	for body, want := range map[string]string{
		`{"calls":[]}`:              "calls must have 1 to 100 entries",
		`{"calls":{}}`:              "calls must be a list",
		`{"calls":[{"params":{}}]}`: "calls: method is missing",
		`{"calls":[{"method":"counts","param":{}}]}`:                                         `calls: \"param\" is no field`,
		`{"calls":[{"method":"a b"}]}`:                                                       "calls: method must match",
		`{"calls":[` + strings.Repeat(`{"method":"counts"},`, 100) + `{"method":"counts"}]}`: "calls must have 1 to 100 entries",
	} {
		h.want(400, want)(h.post("batch", body, all))
	}
	h.want(200, `{"error":{"code":"unknownMethod"`)(h.post("batch", `{"calls":[{"method":"batch","params":{"calls":[]}}]}`, all))
	h.want(200, `{"result":{}},{"error":{"code":"forbidden","message":"counts needs a token with the scope read"}}`)(
		h.post("batch", `{"calls":[{"method":"sendToAll","params":{"event":"e"}},{"method":"counts"}]}`, "Authorization: Bearer 0123456789abcdef"))
}

// A send is made safe before its response, once for each request.
func TestSettle(t *testing.T) {
	h := serve(t, Config{})
	r := h.backend
	for _, tc := range []struct {
		method, body string
		settled      int
	}{
		{"sendToUID", `{"uid":"7","event":"e"}`, 1},
		{"sendToRoom", `{"room":"A","event":"e"}`, 1},
		{"batch", `{"calls":[{"method":"sendToAll","params":{"event":"e"}},{"method":"sendToFD","params":{"fd":9,"event":"e"}}]}`, 1},
		{"join", `{"fd":1,"room":"A"}`, 0},
		{"counts", `{}`, 0},
	} {
		h.want(200, "")(h.post(tc.method, tc.body))
		r.mu.Lock()
		if r.settled != tc.settled {
			t.Errorf("%s: %d times, want %d", tc.method, r.settled, tc.settled)
		}
		r.settled = 0
		r.mu.Unlock()
	}
	if status, say, _ := h.do("GET", "/?type=publish&content=x", ""); status != 200 || say != "ok" || r.settled != 1 {
		t.Error(status, say, r.settled)
	}
}

// Two servers share a port, as the workers of a reload do. No request is refused, and none gets a
// response of the old server once that pauses.
func TestPause(t *testing.T) {
	old := serve(t, Config{})
	next := &host{Server: NewServer(Config{Backend: &recorder{}, Store: old.store}), t: t, client: &http.Client{}}
	old.backend.hold = make(chan struct{})
	under := make(chan string, 1)
	go func() { _, text := old.post("kick", `{"fd":1}`); under <- text }()
	until(t, "it is under way", func() bool { return old.busy() })
	paused := make(chan struct{})
	go func() { old.Pause(); close(paused) }()
	select {
	case <-paused:
		t.Error("paused before a request under way had ended")
	case <-time.After(50 * time.Millisecond):
	}
	close(old.backend.hold)
	if text := <-under; !strings.Contains(text, `"result"`) {
		t.Error(text)
	}
	<-paused
	// New requests wait for the next server.
	waiting := make(chan string, 1)
	go func() { _, text := old.post("roomCount", `{"room":"A"}`); waiting <- text }()
	shared := old.share()
	old.backend.said()
	next.run(shared)
	if text := <-waiting; !strings.Contains(text, `"members":2`) {
		t.Error(text)
	}
	if got := old.backend.said(); len(got) != 0 {
		t.Errorf("the old one has answered: %s", got)
	}
	// After a reload that fails, the old server serves again.
	old.Resume()
	until(t, "both serve", func() bool {
		old.client.CloseIdleConnections()
		old.post("counts", `{}`)
		return len(old.backend.said()) > 0
	})
	old.Pause()
	old.Pause()
	old.Resume()
}

// share returns a second listener of the server's port, as the master makes it.
func (h *host) share() *net.TCPListener {
	h.t.Helper()
	f, err := h.socket.File()
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		h.t.Fatal(err)
	}
	return ln.(*net.TCPListener)
}

// A paused server ends without accepting the connections that wait for the next one.
func TestShutdownWhilePaused(t *testing.T) {
	for range 20 {
		old := serve(t, Config{})
		next := &host{Server: NewServer(Config{Backend: &recorder{}, Store: old.store}), t: t, client: &http.Client{}}
		old.post("counts", `{}`) // it serves
		old.Pause()
		shared := old.share()
		var clients []net.Conn
		for range 20 {
			c, err := net.Dial("tcp", shared.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "POST /api/v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			clients = append(clients, c)
		}
		if err := old.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		next.run(shared)
		for _, c := range clients {
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			if text, err := io.ReadAll(c); err != nil || !strings.Contains(string(text), `"result"`) {
				t.Fatalf("%q, %v", text, err)
			}
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
